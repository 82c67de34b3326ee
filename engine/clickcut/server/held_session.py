"""A session that the server holds, between events."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

from clickcut.bundle import BundleMetadata
from clickcut.errors import ClickcutError
from clickcut.server.peers import Peer
from clickcut.session import ClickSession


class Stream(Protocol):
    """The stream that a session is attached to."""

    def end(self, error: ClickcutError) -> None:
        """End the stream with an error after its running request."""


@dataclass(slots=True, eq=False)
class HeldSession:
    """A session between events.

    Attributes:
        session: touched by one thread at a time, under `lock`.
        model: metadata of its model.
        peer: who opened it.
        id: secret: it is all that a client needs to resume.
        lock: held while an event is applied.
        applied: sequence of the last event that was applied.
        events: number of events that were applied; those are in the store, if there is one.
        epoch: in which this process may append to the store.
        unsure: whether the store must be compared with before the next event.
        nbytes: of the session after its last event.
        used: monotonic time of the last request.
        stream: the one that it is attached to; None between streams.
    """

    session: ClickSession
    model: BundleMetadata
    peer: Peer
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    applied: int = 0
    events: int = 0
    epoch: int = 0
    unsure: bool = False
    nbytes: int = 0
    used: float = field(default_factory=time.monotonic)
    stream: Stream | None = None
