"""The connection to the engine."""

from __future__ import annotations

from pathlib import Path

from clickcut.client import Client
from clickcut.client.channel import tls_credentials

TIMEOUT_SECONDS = 25.0
"""For one call: less than the 30 seconds after which nuclio gives up."""

RETRY_SECONDS = 5.0
"""Part of it to spend on reaching an engine that is not there: a person waits for the answer."""


def connect(server: str, tls: bool = False, ca: str = "") -> Client:
    """Return a client of the engine at `server`; nothing is sent yet.

    Args:
        server: HOST:PORT.
        tls: use TLS.
        ca: file of CA certificates to trust, PEM; implies TLS. "" for those bundled with gRPC.

    Raises:
        EventError: an invalid address, or a file without certificates.
    """
    return Client(
        server,
        timeout=TIMEOUT_SECONDS,
        retry_seconds=RETRY_SECONDS,
        credentials=tls_credentials(tls, Path(ca) if ca else None),
    )
