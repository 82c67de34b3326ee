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


def wait_until_ready(server: str, seconds: float, access: Access) -> None:
    """Wait for the engine to be warm.

    Args:
        server: HOST:PORT.
        seconds: to spend on reaching it.
        access: as in `connect`.

    Raises:
        ClickcutError: it is not, or cannot be reached.
    """
    # The time for the call is longer than that for retries, so that the error is the better one.
    longest = 2 * seconds + 5
    with Client(server, timeout=longest, retry_seconds=seconds, **access.arguments) as client:
        client.models()
