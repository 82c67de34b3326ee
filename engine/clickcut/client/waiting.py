"""Wait for a server that is starting."""

from __future__ import annotations

import time

from clickcut.client.replies import ModelInfo
from clickcut.client.synchronous import Client
from clickcut.errors import BusyError, StalledError, UnavailableError

POLL_SECONDS = 0.25


def wait_until_serving(client: Client, seconds: float) -> list[ModelInfo]:
    """Wait until a server is there and warm; return its models, its default first.

    Other calls give up soon where nothing answers: an address is more often wrong than early.

    Args:
        client: of the server.
        seconds: to wait.

    Raises:
        UnavailableError: it is not there, or still warming up.
        ClickcutError: it refuses.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            models = client.models()
            if client.is_serving():
                return models
            raise UnavailableError("the server is warming up, or shutting down")
        except (UnavailableError, StalledError, BusyError):
            if time.monotonic() + POLL_SECONDS > end:
                raise
        time.sleep(POLL_SECONDS)
