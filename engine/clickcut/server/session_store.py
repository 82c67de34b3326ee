"""Open sessions by id: bounded in number and bytes, evicted when idle.

Used from the event loop only.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from clickcut.bundle import BundleMetadata
from clickcut.errors import (
    BusyError,
    ClickcutError,
    LimitError,
    SessionNotFoundError,
    UnavailableError,
)
from clickcut.server import logs
from clickcut.server.held_session import HeldSession
from clickcut.server.image_store import ImageStore
from clickcut.server.peers import Peer
from clickcut.server.quotas import LimitsOf, unlimited
from clickcut.server.settings import MIB, Settings
from clickcut.session import ClickSession

_log = logging.getLogger(__name__)

_OF_ONE_CLIENT = ("sessions of a host", "sessions of a token")
"""Reasons of refusals for which a session of the same client makes room."""


class SessionStore:
    """Holds sessions.

    Args:
        images: leases are released to it when sessions end.
        settings: limits.
        budget: bytes for all sessions together.
        limits_of: limits of a token.

    Attributes:
        restorable: whether evicted sessions can be resumed.
        on_evict: called with an evicted session that cannot.
    """

    def __init__(
        self,
        images: ImageStore,
        settings: Settings,
        budget: int,
        limits_of: LimitsOf = unlimited,
    ) -> None:
        self._images = images
        self._settings = settings
        self._budget = budget
        self._limits_of = limits_of
        self.restorable = False
        self.on_evict: Callable[[HeldSession], None] = lambda held: None
        self._warm: OrderedDict[str, HeldSession] = OrderedDict()
        images.make_room = self.evict_one
        self._held: dict[str, HeldSession] = {}

    def __len__(self) -> int:
        return len(self._held)

    def held(self) -> list[HeldSession]:
        """Return those that no thread touches."""
        return [held for held in self._held.values() if not held.lock.locked()]

    @property
    def nbytes(self) -> int:
        """Memory of all sessions in bytes, without images."""
        return sum(held.nbytes for held in list(self._held.values()))

    def check_room(self, peer: Peer, wanted: int = 0) -> None:
        """Check that a peer may open one more session of `wanted` bytes.

        If there is no room, a session that is not in use is evicted; see `_spare`.

        Raises:
            LimitError: it may not.
        """
        self.drop_unused()
        while (refusal := self._refusal(peer, wanted)) is not None:
            spare = self._spare(peer if refusal.reason in _OF_ONE_CLIENT else None)
            if spare is None:
                raise refusal
            self._evict(spare, "the server needed its room")

    def add(
        self,
        session: ClickSession,
        model: BundleMetadata,
        peer: Peer,
        session_id: str | None = None,
    ) -> HeldSession:
        """Hold a new session, which brings its lease of the image.

        Args:
            session: to hold.
            model: of the session.
            peer: who opened it.
            session_id: of a restored session; if there is one of this id already, that is returned.

        Raises:
            LimitError: no room; the lease stays with the caller.
        """
        if session_id in self._held:
            return self._held[session_id]
        held = HeldSession(session, model, peer, nbytes=session.nbytes)
        held.id = session_id or held.id
        self.check_room(peer, held.nbytes)
        self._held[held.id] = held
        return held

    def find(self, session_id: str, owner: str) -> HeldSession:
        """Return the session with this id.

        Args:
            session_id: of the session.
            owner: token of the client; the session of another one is not there for it.

        Raises:
            SessionNotFoundError: there is none.
        """
        held = self._held.get(session_id)
        if held is None or held.peer.owner != owner:
            raise SessionNotFoundError(
                "no session has this id: it was closed or evicted, or the server was restarted; "
                "open a new one"
            )
        return held

    def drop(self, held: HeldSession) -> None:
        """Remove a session."""
        if self._held.get(held.id) is held:  # not another one that was restored meanwhile
            del self._held[held.id]
            self._warm.pop(held.id, None)
            self._images.release(held.session.image)

    def used(self, held: HeldSession, nbytes: int) -> None:
        """Record an event of a session and its present size; see `warm_sessions`."""
        held.used, held.nbytes = time.monotonic(), nbytes
        self._images.measure(held.session.image)
        if self._held.get(held.id) is not held:
            return
        self._warm[held.id] = held
        self._warm.move_to_end(held.id)
        self._cool(self._settings.warm_sessions)

    def check_growth(self, held: HeldSession) -> None:
        """Check that there is memory for a session to grow.

        Raises:
            BusyError: the memory for sessions is full, and no idle session can be evicted.
        """
        if self.nbytes > self._budget:
            self._cool(0)
        while self.nbytes > self._budget:
            spare = self._spare(None)
            if spare is None or spare is held:
                raise self._full()
            self._evict(spare, "the server needed its memory")

    def evict_one(self) -> bool:
        """Evict a session that is not in use, for the memory of its image; False if none is."""
        spare = self._spare(None)
        if spare is not None:
            self._evict(spare, "the server needed the memory of its image")
        return spare is not None

    def free(self) -> None:
        """Free what can be recomputed, and evict sessions without a stream."""
        self._cool(0)
        for held in list(self._held.values()):
            if held.stream is None and not held.lock.locked():
                self._evict(held, "the server needed its memory")

    def _cool(self, keep: int) -> None:
        """Drop the last cuts of all but the `keep` sessions used last."""
        for held in list(self._warm.values())[: max(0, len(self._warm) - keep)]:
            if not held.lock.locked():
                del self._warm[held.id]
                held.session.cool()
                held.nbytes = held.session.nbytes

    def drop_unused(self) -> None:
        """Evict expired sessions and end their streams."""
        now = time.monotonic()
        for held in list(self._held.values()):
            settings = self._settings
            kept = settings.resume_seconds if held.stream is None else settings.idle_seconds
            if now - held.used > kept and not held.lock.locked():
                self._evict(held, f"it had no request for {kept:g} s")

    def _evict(self, held: HeldSession, why: str) -> None:
        idle = time.monotonic() - held.used
        _log.debug("session %s evicted, idle for %.0f s: %s", logs.shown_id(held.id), idle, why)
        if not self.restorable:
            self.on_evict(held)
        self.drop(held)
        if held.stream is not None:
            held.stream.end(self._evicted(why))

    def _evicted(self, why: str) -> ClickcutError:
        if self.restorable:
            return UnavailableError(f"the session was moved to the store ({why}); resume it")
        return SessionNotFoundError(f"the session was evicted ({why}); open a new one")

    def _spare(self, peer: Peer | None) -> HeldSession | None:
        """Return the session to evict for a new one, None if all are in use.

        Those without a stream come before those that are merely idle, then those of the token or
        host that has the most, then the one idle for longest.

        Args:
            peer: of whose token or host it must be; None for any.
        """
        now = time.monotonic()
        counts = Counter(held.peer.account for held in self._held.values())
        spare = [
            held
            for held in self._held.values()
            if not held.lock.locked()
            and (held.stream is None or now - held.used > self._settings.spare_seconds)
            and (peer is None or held.peer.account == peer.account)
        ]
        return min(
            spare,
            key=lambda held: (held.stream is not None, -counts[held.peer.account], held.used),
            default=None,
        )

    def _refusal(self, peer: Peer, wanted: int) -> LimitError | None:
        """Return why a peer may not open a session of `wanted` bytes; None if it may."""
        settings = self._settings
        if len(self._held) >= settings.max_sessions:
            return BusyError(
                f"the server has {settings.max_sessions} sessions open, its maximum: close "
                "one, try again later, or start it with a larger --max-sessions",
                reason="sessions",
            )
        most = self._most_of(peer)
        if sum(held.peer.account == peer.account for held in self._held.values()) >= most:
            if peer.owner:
                return LimitError(
                    f"your token has {most} sessions open, its maximum: close one, or have "
                    "its limit `sessions` raised",
                    reason="sessions of a token",
                )
            return LimitError(
                f"your address has {most} sessions open, the maximum for one: close one, or start "
                "the server with a larger --max-sessions-per-host",
                reason="sessions of a host",
            )
        if self.nbytes + wanted > self._budget:
            return self._full()
        return None

    def _most_of(self, peer: Peer) -> int:
        """Return how many sessions a client may have."""
        share = math.ceil(self._settings.max_sessions * 3 / 4)
        if peer.owner:
            return self._limits_of(peer.owner).sessions or share
        return self._settings.max_sessions_per_host or share

    def _full(self) -> BusyError:
        return BusyError(
            f"sessions fill their memory ({self.nbytes // MIB} of {self._budget // MIB} MiB): "
            "close one, try again later, or start the server with a larger --session-memory-mib",
            reason="session memory",
        )
