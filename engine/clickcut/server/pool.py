"""The compute pool: a fixed number of threads, a bounded queue, and fair turns.

Kernels, network and decoders release the interpreter lock, so threads are enough, and the event
loop keeps answering while they work. Long work is split into steps: after each one it goes to the
end of the queue of its connection, and stops there if its caller is gone or its time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from clickcut.errors import BusyError
from clickcut.server.job import Job, Steps, one_step, too_late
from clickcut.server.pace import Pace
from clickcut.server.peers import LOCAL, FairQueue, Peer

T = TypeVar("T")

MIN_QUEUE = 4
"""Jobs per worker that may wait however long they take: on a slow machine, or with large images, a
queue is better than being refused again and again."""


class ComputePool:
    """Runs work in threads, in turns between peers (see `clickcut.server.peers`).

    Args:
        workers: threads.
        queue: how many jobs may wait beside those that run. When it is full, a new job
            replaces the last one of the peer that has the most, or is refused if that is its own.
        max_wait: the queue is full as well when a new job would wait longer, seconds, as estimated
            from the latest ones, and `MIN_QUEUE` jobs per worker wait already.

    Attributes:
        finished: jobs that ran to their end, up to now.
    """

    def __init__(self, workers: int, queue: int, max_wait: float = math.inf) -> None:
        self.workers = workers
        self.queue = queue
        self.max_wait = max_wait
        self._pace = Pace()
        self._ahead: deque[Job[Any]] = deque()
        """Parts of requests that have had a turn, see `run_steps`."""
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="clickcut")
        self._lock = threading.Lock()
        self._waiting: FairQueue[Job[Any]] = FairQueue()
        self._unfinished = 0
        self.finished = 0
        self._running: dict[Job[Any], float] = {}
        """Jobs in a step, and since when."""

    @property
    def running(self) -> list[tuple[Peer, float]]:
        """Whose work is in a step now, and for how many seconds it has been."""
        now = time.perf_counter()
        with self._lock:
            return [(job.peer, now - since) for job, since in self._running.items()]

    @property
    def unfinished(self) -> int:
        """Jobs that wait or run."""
        return self._unfinished

    @property
    def wait(self) -> float:
        """Expected seconds that a new job waits for its first turn, if all others are before it."""
        return self._pace.wait(self._unfinished, self.workers)

    async def run(
        self,
        work: Callable[[], T],
        peer: Peer = LOCAL,
        seconds: float | None = None,
        continues: bool = False,
    ) -> tuple[T, float]:
        """Run `work` in a thread, in one step; otherwise as `run_steps`."""
        return await self.run_steps(one_step(work), peer, seconds, continues)

    async def run_steps(
        self,
        steps: Steps[T],
        peer: Peer = LOCAL,
        seconds: float | None = None,
        continues: bool = False,
    ) -> tuple[T, float]:
        """Run work step by step, each in a thread, giving turns to others in between.

        When the caller is cancelled, no further step begins; a running step continues to its end.

        Args:
            steps: closed when it is not run to its end.
            peer: in whose turns it runs.
            seconds: after this time no further step begins.
            continues: whether this is a further part of a request that has had a turn. Its first
                step goes ahead of those that wait, and it is not refused for a full queue: a
                request waits once, not once for each of its parts.

        Returns:
            Its result, and how long it waited, in milliseconds.

        Raises:
            BusyError: too much work waits, or it did not get its first turn in time.
            StalledError: it was not finished in time.
        """
        # No name for the future: an error in it would keep this frame, and so the work, alive.
        return await self._begin(steps, peer, seconds, continues)

    def close(self) -> None:
        """Drop waiting jobs; running steps continue to their end."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    # ---- on the event loop

    def _begin(
        self, steps: Steps[T], peer: Peer, seconds: float | None, continues: bool
    ) -> asyncio.Future[tuple[T, float]]:
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        deadline = None if seconds is None else now + seconds
        job = Job(steps, peer, loop.create_future(), now, deadline, continues)
        with self._lock:
            if not continues and self._is_full():
                self._make_room(peer)
            self._enqueue(job)
            self._unfinished += 1
        timer = None if seconds is None else loop.call_later(seconds, self._expire, job)

        def ended(future: asyncio.Future[Any]) -> None:
            if timer is not None:
                timer.cancel()
            if future.cancelled():
                self._give_up(job)

        job.future.add_done_callback(ended)
        return job.future

    def _is_full(self) -> bool:
        if self._unfinished >= self.workers + self.queue:
            return True
        return self._unfinished >= (1 + MIN_QUEUE) * self.workers and self.wait > self.max_wait

    def _make_room(self, peer: Peer) -> None:
        """Refuse a waiting job of the peer that has the most, or the new one. Holds the lock."""
        jobs = self._waiting.heaviest(peer, margin=2)
        if jobs is None:
            raise self._busy()
        unlucky = next((job for job in reversed(jobs) if not job.started), jobs[-1])
        self._waiting.remove(unlucky.peer, unlucky)
        self._unfinished -= 1
        unlucky.steps.close()
        unlucky.settle(None, self._busy())

    def _busy(self) -> BusyError:
        return BusyError(
            f"the server is busy: {self._unfinished} requests wait or run; try again in a "
            "moment, or give the server more --workers or a longer --queue and --queue-seconds",
            reason="queue",
            retry_after=self.wait,
        )

    def _expire(self, job: Job[Any]) -> None:
        if self._take_out(job):
            job.settle(None, too_late(job, self.wait))

    def _give_up(self, job: Job[Any]) -> None:
        with self._lock:
            job.given_up = True  # checked after the running step, if any
        self._take_out(job)

    def _take_out(self, job: Job[Any]) -> bool:
        """Take a job out of the queue; False when it runs or has ended."""
        with self._lock:
            found = self._waiting.remove(job.peer, job)
            if not found and job in self._ahead:
                self._ahead.remove(job)
                found = True
            self._unfinished -= found
        if found:
            job.steps.close()
        return found

    # ---- in any thread

    def _enqueue(self, job: Job[Any]) -> None:
        """Wait for a turn. Holds the lock."""
        # One call of `_turn` for each entry; which entry it gets is decided when it runs.
        self._executor.submit(self._turn)
        if job.continues:
            self._ahead.append(job)
        else:
            self._waiting.put(job.peer, job)

    def _turn(self) -> None:
        """Run one step of the job whose turn it is."""
        with self._lock:
            job = self._ahead.popleft() if self._ahead else self._waiting.take()
            if job is None:  # taken out meanwhile
                return
            now = self._running[job] = time.perf_counter()
        job.waited += now - job.asked
        job.started, job.continues = True, False
        try:
            job.context.run(next, job.steps)
        except StopIteration as stop:
            self._retire(job, stop.value, None)
        except BaseException as raised:  # passed to the caller
            self._retire(job, None, raised)
        else:
            self._go_on(job)
        finally:
            del job  # an error keeps this frame alive, which must not keep the work alive

    def _go_on(self, job: Job[Any]) -> None:
        with self._lock, contextlib.suppress(RuntimeError):  # shut down
            if not job.given_up and not job.late:
                self._end_step(job)
                job.asked = time.perf_counter()
                self._enqueue(job)
                return
        job.steps.close()
        self._retire(job, None, too_late(job, self.wait))

    def _retire(self, job: Job[Any], result: Any, error: BaseException | None) -> None:
        with self._lock:
            self._unfinished -= 1
            self.finished += 1
            self._end_step(job)
        job.settle(result, error)

    def _end_step(self, job: Job[Any]) -> None:
        """Count a step that has ended. Holds the lock."""
        since = self._running.pop(job, None)
        if since is not None:
            self._pace.add(time.perf_counter() - since)
