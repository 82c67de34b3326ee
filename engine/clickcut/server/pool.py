"""The compute pool: a fixed number of threads and a bounded queue before them.

Kernels, network and decoders release the interpreter lock, so threads are enough, and the event
loop keeps answering while they work.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from clickcut.errors import LimitError

T = TypeVar("T")


class ComputePool:
    """Runs work in threads, in the order given.

    Args:
        workers: threads.
        queue: how much work may wait; more is refused.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self.workers = workers
        self.queue = queue
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="clickcut")
        self._lock = threading.Lock()
        self._unfinished = 0

    @property
    def unfinished(self) -> int:
        """Pieces of work that wait or run."""
        return self._unfinished

    async def run(self, work: Callable[[], T]) -> tuple[T, float]:
        """Run `work` in a thread.

        When the caller is cancelled, work that waits is taken back; work that runs goes on to its
        end, and its result is dropped.

        Returns:
            Its result, and how long it waited, in milliseconds.

        Raises:
            LimitError: too much work waits already.
        """
        with self._lock:
            if self._unfinished >= self.workers + self.queue:
                raise LimitError(
                    f"the server is busy: {self._unfinished} requests wait or run; try again in a "
                    "moment, or give the server more --workers or a longer --queue"
                )
            self._unfinished += 1
        asked = time.perf_counter()

        def timed() -> tuple[T, float]:
            waited = 1e3 * (time.perf_counter() - asked)
            return work(), waited

        # No name for the future: with an error it would keep this frame, and that the work.
        return await asyncio.wrap_future(self._submit(timed))

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        try:
            future = self._executor.submit(work)
        except RuntimeError:  # shut down
            self._count_down()
            raise
        future.add_done_callback(self._count_down)
        return future

    def close(self) -> None:
        """Drop what waits, let what runs come to its end."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _count_down(self, _: Future[Any] | None = None) -> None:
        with self._lock:
            self._unfinished -= 1
