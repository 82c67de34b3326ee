"""The connection to the engine."""

from __future__ import annotations

from pathlib import Path

from clickcut.client import Client
from clickcut.client.access import Access

TIMEOUT_SECONDS = 25.0
"""For one call: less than the 30 seconds after which nuclio gives up."""

RETRY_SECONDS = 5.0
"""Part of it to spend on reaching an engine that is not there: a person waits for the answer."""


def access_of(
    tls: bool = False, ca: str = "", cert: str = "", key: str = "", token_file: str = ""
) -> Access:
    """Return the access to an engine that parameters ask for.

    Args:
        tls: use TLS.
        ca: file of CA certificates to trust, PEM; implies TLS. "" for those bundled with gRPC.
        cert: file of a client certificate, PEM; implies TLS. "" without.
        key: file of its private key, PEM.
        token_file: file that holds the token; "" for that of the environment, CLICKCUT_TOKEN.

    Raises:
        EventError: a file cannot be read, or is not what it should be.
    """
    ca_path, cert_path, key_path, token_path = (
        Path(name) if name else None for name in (ca, cert, key, token_file)
    )
    return Access.of(tls, ca_path, cert_path, key_path, token_path)


def connect(server: str, access: Access) -> Client:
    """Return a client of the engine at `server`; nothing is sent yet.

    Args:
        server: HOST:PORT.
        access: shown to it.

    Raises:
        EventError: an invalid address, or the token would be sent in plain text.
    """
    return Client(
        server,
        timeout=TIMEOUT_SECONDS,
        retry_seconds=RETRY_SECONDS,
        **access.arguments,
    )
