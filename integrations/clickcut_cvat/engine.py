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


def wait_until_ready(server: str, seconds: float, tls: bool = False, ca: str = "") -> None:
    """Wait for the engine to be warm.

    Args:
        server: HOST:PORT.
        seconds: to spend on reaching it.
        tls: as in `connect`.
        ca: as in `connect`.

    Raises:
        ClickcutError: it is not, or cannot be reached.
    """
    credentials = tls_credentials(tls, Path(ca) if ca else None)
    # The time for the call is longer than that for retries, so that the error is the better one.
    longest = 2 * seconds + 5
    with Client(server, timeout=longest, retry_seconds=seconds, credentials=credentials) as client:
        client.models()
