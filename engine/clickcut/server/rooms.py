"""Limit the number of calls in progress, with room for peers that have few."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from clickcut.errors import BusyError
from clickcut.server.peers import FairQueue, Peer


@dataclass(slots=True, eq=False)
class _Stay:
    peer: Peer
    timeout: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    evicted: bool = False


class Room:
    """Holds calls of one kind while they are in progress.

    Args:
        places: maximum number of calls. When all are taken, a new call ends the oldest
            one of the peer that has the most.
        name: of the calls, plural, for messages; also the reason under which refusals are counted.
        keeps_own: whether a newcomer is refused, rather than an older call ended, where its own
            peer has the most.
    """

    def __init__(self, places: int, name: str, keeps_own: bool = False) -> None:
        self._places = places
        self._name = name
        self._margin = 2 if keeps_own else 0
        self._stays: FairQueue[_Stay] = FairQueue()

    def __len__(self) -> int:
        return len(self._stays)

    @contextlib.asynccontextmanager
    async def place(self, peer: Peer, seconds: float | None = None) -> AsyncIterator[None]:
        """Hold a place for a peer.

        Args:
            peer: whose call it is.
            seconds: maximum time for the call.

        Raises:
            BusyError: there is no room, or it was ended for another peer.
            TimeoutError: the time is over.
        """
        if len(self._stays) >= self._places:
            self._make_room(peer)
        stay = _Stay(peer)
        self._stays.put(peer, stay)
        try:
            async with asyncio.timeout(seconds) as stay.timeout:
                yield
        except TimeoutError:
            if stay.evicted:
                raise self._refusal() from None
            raise
        finally:
            if not stay.evicted:
                self._stays.remove(peer, stay)

    def _make_room(self, newcomer: Peer) -> None:
        stays = self._stays.heaviest(newcomer, self._margin)
        if stays is None:
            raise self._refusal()
        self._end(stays[0])

    def clear(self) -> None:
        """End all calls."""
        while (stay := self._stays.take()) is not None:
            self._end(stay)

    def _end(self, stay: _Stay) -> None:
        self._stays.remove(stay.peer, stay)
        stay.evicted = True
        with contextlib.suppress(RuntimeError):  # it is ending already
            stay.timeout.reschedule(asyncio.get_running_loop().time())

    def _refusal(self) -> BusyError:
        return BusyError(
            f"too many {self._name} at once ({self._places}): use fewer at a time, and try again "
            "in a moment",
            reason=self._name,
        )
