"""Clients of the engine; they need neither torch nor a network back-end.

    from clickcut.client import Client

    with Client("localhost:50051") as client, client.open("photo.jpg") as session:
        mask = session.click(190, 330)                  # (H, W) bool
        mask = session.click(40, 30, positive=False)

`AsyncClient` is the same with `await`. After a broken connection or a restart of the server the
session continues where it was. Otherwise an error of `clickcut.errors` or one of those below is
raised.
"""

from clickcut.client.asynchronous import AsyncClient, AsyncSession
from clickcut.client.failures import BodyLimitError, UnreachableError
from clickcut.client.synchronous import Client, Session
from clickcut.errors import (
    BusyError,
    DroppedEventError,
    ServerError,
    StalledError,
    TakenOverError,
    UnavailableError,
    UsageError,
)
from clickcut.polygons import Polygon

__all__ = [
    "AsyncClient",
    "AsyncSession",
    "BodyLimitError",
    "BusyError",
    "Client",
    "DroppedEventError",
    "Polygon",
    "ServerError",
    "Session",
    "StalledError",
    "TakenOverError",
    "UnavailableError",
    "UnreachableError",
    "UsageError",
]
