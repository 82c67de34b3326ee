"""End waits at their deadlines, from one shared thread."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Watchdog:
    """Calls a function for each wait that exceeds its deadline; its thread starts at first use."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waits: list[tuple[float, int]] = []
        self._calls: dict[int, Callable[[], object]] = {}
        self._started = False

    @contextmanager
    def calling(self, call: Callable[[], object], seconds: float) -> Iterator[None]:
        """Call `call` from another thread if the body takes longer than `seconds`."""
        number = next(self._numbers)
        with self._changed:
            self._start()
            self._calls[number] = call
            heapq.heappush(self._waits, (time.monotonic() + seconds, number))
            if self._waits[0][1] == number:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._calls.pop(number, None)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="clickcut-watchdog", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._waits and self._waits[0][1] not in self._calls:
                    heapq.heappop(self._waits)
                left = self._waits[0][0] - time.monotonic() if self._waits else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                call = self._calls.pop(heapq.heappop(self._waits)[1])
            call()


watchdog = Watchdog()
# A fork has neither the thread nor, perhaps, a lock that can be taken.
os.register_at_fork(after_in_child=watchdog.__init__)  # type: ignore[misc]
