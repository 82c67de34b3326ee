"""The clock by which a store on disk expires sessions.

The clock of the machine may jump, and the monotonic one ends with the machine's run. So the store
has a clock of its own: seconds during which a process used it, kept in the store. It never goes
back, and stands still while no process runs: sessions do not expire because servers were down.
Processes that share a store count the same seconds once: the largest reading is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class StoreClock:
    """Continues the clock of a store.

    Args:
        start: reading kept in the store.
        seconds: a clock that never goes back.
    """

    def __init__(self, start: float, seconds: Callable[[], float] = time.monotonic) -> None:
        self._start = start
        self._seconds = seconds
        self._began = seconds()

    def now(self) -> float:
        """Return the present reading, to be kept in the store with each write."""
        return self._start + self._seconds() - self._began

    def catch_up(self, reading: float) -> None:
        """Go on from a later reading that another process kept."""
        self._start += max(0.0, reading - self.now())
