"""Open sessions by id: bounded in number and bytes, dropped when nobody uses them.

Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

from clickcut.bundle import BundleMetadata
from clickcut.errors import ClickcutError, LimitError, SessionNotFoundError
from clickcut.server.images import ImageStore
from clickcut.server.settings import MIB
from clickcut.session import ClickSession

_log = logging.getLogger(__name__)


class Stream(Protocol):
    """What a session needs of the stream that it is attached to."""

    def end(self, error: ClickcutError) -> None:
        """End the stream with an error once its running request is answered."""


@dataclass(slots=True, eq=False)
class HeldSession:
    """A session between events.

    Attributes:
        session: touched by one thread at a time, under `lock`.
        model: what its predictor's bundle says of itself.
        id: hard to guess; whoever knows it can resume.
        lock: held while an event is applied.
        applied: sequence of the last event that was applied.
        nbytes: of the session after its last event.
        used: monotonic time of the last request.
        stream: the one that it is attached to; None between streams.
    """

    session: ClickSession
    model: BundleMetadata
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    applied: int = 0
    nbytes: int = 0
    used: float = field(default_factory=time.monotonic)
    stream: Stream | None = None


class SessionStore:
    """Holds sessions.

    Args:
        images: gets a lease back when a session goes.
        most: sessions at most.
        budget: bytes at most when a session is added. An open session may still grow, as far as
            the limits of one session let it.
        idle_seconds: a session with a stream but without requests goes after this time.
        resume_seconds: a session without a stream goes after this time.
    """

    def __init__(
        self,
        images: ImageStore,
        most: int,
        budget: int,
        idle_seconds: float,
        resume_seconds: float,
    ) -> None:
        self._images = images
        self._most = most
        self._budget = budget
        self._idle_seconds = idle_seconds
        self._resume_seconds = resume_seconds
        self._held: dict[str, HeldSession] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of all sessions, images not counted."""
        return sum(held.nbytes for held in list(self._held.values()))

    def check_room(self, wanted: int = 0) -> None:
        """Whether one more session of `wanted` bytes may be opened.

        Raises:
            LimitError: no.
        """
        self.drop_unused()
        if len(self._held) >= self._most:
            raise LimitError(
                f"the server has {self._most} sessions open, as many as it may: close one, try "
                "again later, or start it with a larger --max-sessions"
            )
        used = self.nbytes
        if used + wanted > self._budget:
            raise LimitError(
                f"sessions fill their memory ({used // MIB} of {self._budget // MIB} MiB): close "
                "one, try again later, or start the server with a larger --session-memory-mib"
            )

    def add(self, session: ClickSession, model: BundleMetadata) -> HeldSession:
        """Hold a new session, which brings its lease of the image.

        Raises:
            LimitError: no room; the lease stays with the caller.
        """
        held = HeldSession(session, model, nbytes=session.nbytes)
        self.check_room(held.nbytes)
        self._held[held.id] = held
        return held

    def find(self, session_id: str) -> HeldSession:
        """The session with this id.

        Raises:
            SessionNotFoundError: there is none.
        """
        held = self._held.get(session_id)
        if held is None:
            raise SessionNotFoundError(
                "no session has this id: it was closed, dropped after its idle time, or the server "
                "was started anew; open a new one"
            )
        return held

    def drop(self, held: HeldSession) -> None:
        """Forget a session."""
        if self._held.pop(held.id, None) is not None:
            self._images.release(held.session.image)

    def drop_unused(self) -> None:
        """Drop the sessions whose time is up; their streams, if any, end."""
        now = time.monotonic()
        for held in list(self._held.values()):
            kept = self._resume_seconds if held.stream is None else self._idle_seconds
            if now - held.used <= kept or held.lock.locked():
                continue
            _log.info("session %s dropped, unused for %.0f s", held.id[:6], now - held.used)
            self.drop(held)
            if held.stream is not None:
                held.stream.end(
                    SessionNotFoundError(
                        f"the session had no request for {self._idle_seconds:g} s and was dropped; "
                        "open a new one"
                    )
                )
