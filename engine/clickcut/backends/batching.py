"""Dynamic batching: requests of several sessions become one call of the network.

There is no thread of its own. A caller that finds nobody predicting leads: it takes what waits, up
to `max_batch`, predicts, and hands the results out. Callers that come meanwhile wait, and one of
them leads next. So a session that is alone predicts at once, in its own thread, and what piles up
while the network is busy goes together. Only when others wait already, and the batch is not full,
does the leader give stragglers `max_delay`.
"""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from clickcut.predictor import Predictor


class BatchingPredictor:
    """A predictor that merges concurrent predictions.

    Args:
        predictor: does the work; called by one thread at a time.
        max_batch: inputs in one call at most, unless one caller brings more.
        max_delay: seconds that a batch which has begun waits to be filled.

    Attributes:
        metadata: of the predictor.
        backend: of the predictor.
    """

    def __init__(self, predictor: Predictor, max_batch: int, max_delay: float) -> None:
        self.metadata = predictor.metadata
        self.backend = predictor.backend
        self._predictor = predictor
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._condition = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._busy = False

    def warm_up(self) -> None:
        """See `Predictor.warm_up`."""
        self._predictor.warm_up()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Predictor.predict`. An error of the call reaches everyone whose input was in it."""
        request = _Request(batch)
        with self._condition:
            self._waiting.append(request)
            self._condition.notify_all()  # a leader may be waiting for more
            while not request.done:
                if self._busy:
                    self._condition.wait()
                    continue
                self._busy = True
                taken = self._take()
                self._condition.release()
                try:
                    self._run(taken)
                finally:
                    self._condition.acquire()
                    self._busy = False
                    self._condition.notify_all()
        return request.result()

    def _take(self) -> list[_Request]:
        """What goes into the next call, the oldest first; holds the lock, waits for stragglers."""
        if len(self._waiting) > 1:
            end = time.monotonic() + self._max_delay
            while sum(len(r.batch) for r in self._waiting) < self._max_batch:
                left = end - time.monotonic()
                if left <= 0 or not self._condition.wait(left):
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
                logits = self._predictor.predict(np.concatenate([r.batch for r in taken]))
                ends = np.cumsum([len(r.batch) for r in taken])
                for request, part in zip(taken, np.split(logits, ends[:-1]), strict=True):
                    request.logits = part
        except BaseException as error:
            for request in taken:
                request.error = error
        for request in taken:
            request.done = True


class _Request:
    """One caller's input and, when done, its logits or the error."""

    __slots__ = ("batch", "done", "error", "logits")

    def __init__(self, batch: NDArray[np.float32]) -> None:
        self.batch = batch
        self.logits: NDArray[np.float32] | None = None
        self.error: BaseException | None = None
        self.done = False

    def result(self) -> NDArray[np.float32]:
        """The logits, or the error, raised."""
        if self.logits is None:
            raise self.error or RuntimeError("the request is not done")
        return self.logits
