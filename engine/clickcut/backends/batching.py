"""Dynamic batching: requests of several sessions become one call of the network.

There is no batching thread. A caller that finds no prediction running becomes the leader: it takes
the waiting requests, up to `max_batch`, predicts, hands out the results, and makes the oldest
request that arrived meanwhile the next leader. So a single session predicts at once, in its own
thread, and requests that arrive while the network is busy are batched. Only when others wait
already, and the batch is not full, does the leader wait for more, up to `max_delay`.

Each caller sleeps on its own lock and is woken once: when its result is ready, or to lead.
"""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from clickcut.backends.base import Predictor


class BatchingPredictor:
    """A predictor that merges concurrent predictions.

    Args:
        predictor: makes the predictions; called by one thread at a time.
        max_batch: maximum number of inputs per call, unless one caller has more.
        max_delay: maximum seconds that a started batch waits for more inputs.

    Attributes:
        metadata: of the predictor.
        backend: of the predictor.
        sha256: of the predictor.
    """

    def __init__(self, predictor: Predictor, max_batch: int, max_delay: float) -> None:
        self.metadata = predictor.metadata
        self.backend = predictor.backend
        self.sha256 = predictor.sha256
        self._predictor = predictor
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._waiting: deque[_Request] = deque()
        self._busy = False
        self._room = np.empty(0, np.float32)

    def warm_up(self) -> None:
        """See `Predictor.warm_up`."""
        self._predictor.warm_up()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Predictor.predict`. An error is raised to every caller in the batch."""
        request = _Request(batch)
        with self._lock:
            self._waiting.append(request)
            self._came.notify()  # the leader may be waiting for more
            leads, self._busy = not self._busy, True
        if not leads:
            request.sleep()
        if not request.done:
            self._lead()
        return request.result()

    def _lead(self) -> None:
        """Predict for the oldest request, which is the caller's own, and those batched with it."""
        with self._lock:
            taken = self._take()
        self._run(taken)
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._busy = following is not None
        if following is not None:
            following.wake()
        for request in taken[1:]:
            request.wake()

    def _take(self) -> list[_Request]:
        """Return the requests of the next batch, oldest first; may wait for more, with the lock."""
        if len(self._waiting) > 1:
            end = time.monotonic() + self._max_delay
            while sum(len(r.batch) for r in self._waiting) < self._max_batch:
                left = end - time.monotonic()
                if left <= 0 or not self._came.wait(left):
                    break
        taken = [self._waiting.popleft()]
        count, shape = len(taken[0].batch), taken[0].batch.shape[1:]
        while self._waiting:
            following = self._waiting[0].batch
            if count + len(following) > self._max_batch or following.shape[1:] != shape:
                break
            count += len(following)
            taken.append(self._waiting.popleft())
        return taken

    def _run(self, taken: list[_Request]) -> None:
        """Predict and hand out the results, or the error."""
        try:
            if len(taken) == 1:
                taken[0].logits = self._predictor.predict(taken[0].batch)
            else:
                logits = self._predictor.predict(self._together([r.batch for r in taken]))
                ends = np.cumsum([len(r.batch) for r in taken])
                for request, part in zip(taken, np.split(logits, ends[:-1]), strict=True):
                    request.logits = part
        except BaseException as error:
            for request in taken:
                request.error = error
        for request in taken:
            request.done = True

    def _together(self, batches: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return all inputs in one array, which is reused: fresh memory pages are slow."""
        shape = self._max_batch, *batches[0].shape[1:]
        if self._room.shape != shape:
            self._room = np.empty(shape, np.float32)
        count = sum(len(b) for b in batches)
        return np.concatenate(batches, out=self._room[:count])


class _Request:
    """One caller's input and, when done, its logits or the error."""

    __slots__ = ("_asleep", "batch", "done", "error", "logits")

    def __init__(self, batch: NDArray[np.float32]) -> None:
        self.batch = batch
        self.logits: NDArray[np.float32] | None = None
        self.error: BaseException | None = None
        self.done = False
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def sleep(self) -> None:
        """Sleep until another thread calls `wake`; return at once if it has."""
        self._asleep.acquire()

    def wake(self) -> None:
        """End the sleep."""
        self._asleep.release()

    def result(self) -> NDArray[np.float32]:
        """Return the logits, or the error, raised."""
        if self.logits is None:
            raise self.error or RuntimeError("the request is not done")
        return self.logits
