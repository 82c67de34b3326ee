"""Metadata by which a router in front of several servers keeps a session on one of them.

Ray Serve's gRPC proxy reads both entries: which application is called, and which requests belong
together. Envoy and HAProxy can hash the second one. A single server ignores them.
"""

from __future__ import annotations

import secrets

from clickcut.client.channel import Metadata

APPLICATION = "clickcut"
"""Name of the application in Ray Serve."""

APPLICATION_KEY, ROUTING_KEY = "application", "session_id"
"""Names of the metadata entries; Ray Serve defines them."""


def new_routing_key() -> str:
    """Return a key for requests that belong together: those of a session, or of an image.

    It says nothing about the session and gives no access to it, so routers may log it.
    """
    return secrets.token_hex(8)


def routing_metadata(key: str) -> Metadata:
    """Return the metadata of a request.

    Args:
        key: requests with the same key reach the same server while the set of servers stays.
    """
    return (APPLICATION_KEY, APPLICATION), (ROUTING_KEY, key)
