"""Dynamic batching: concurrent calls are merged, a lone call does not wait, no call is lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fakes import FakePredictor
from server.harness import wait_until

from clickcut.backends.batching import BatchingPredictor
from clickcut.errors import CutError

LONG = 30.0
"""A delay that no test sits out."""


class SlowPredictor(FakePredictor):
    """Gives the mean of each input; each call waits for `go`, and is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.inside = 0
        self.error: Exception | None = None

    def predict(self, batch):
        self.inside += 1
        assert self.inside == 1, "one thread at a time"
        self.sizes.append(len(batch))
        assert self.go.wait(LONG)
        self.inside -= 1
        if self.error is not None:
            raise self.error
        return batch.mean(1)


def one(value: float, size: int = 8) -> np.ndarray:
    return np.full((1, 6, size, size), value, np.float32)


def waiting(batching: BatchingPredictor) -> int:
    return len(batching._waiting)


def test_what_comes_while_the_network_is_busy_goes_together() -> None:
    slow = SlowPredictor()
    batching = BatchingPredictor(slow, max_batch=8, max_delay=0.0)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batching.predict, one(0))
        wait_until(lambda: slow.inside == 1, "the first runs alone")
        others = [pool.submit(batching.predict, one(k)) for k in range(1, 7)]
        wait_until(lambda: waiting(batching) == 6, "six wait")
        slow.go.set()
        assert first.result(LONG).mean() == 0
        assert [f.result(LONG).mean() for f in others] == [1, 2, 3, 4, 5, 6]
    assert slow.sizes == [1, 6]


def test_a_batch_is_never_larger_than_allowed() -> None:
    slow = SlowPredictor()
    batching = BatchingPredictor(slow, max_batch=4, max_delay=0.0)
    with ThreadPoolExecutor(12) as pool:
        results = [pool.submit(batching.predict, one(0))]
        wait_until(lambda: slow.inside == 1, "the first runs")
        results += [pool.submit(batching.predict, one(k)) for k in range(1, 10)]
        wait_until(lambda: waiting(batching) == 9, "nine wait")
        slow.go.set()
        assert [r.result(LONG).mean() for r in results] == list(range(10))
    assert slow.sizes == [1, 4, 4, 1]
    whole = np.concatenate([one(k) for k in range(6)])  # one caller may bring more
    assert batching.predict(whole).shape == (6, 8, 8)
    assert slow.sizes[-1] == 6


def test_who_is_alone_does_not_wait() -> None:
    slow = SlowPredictor()
    slow.go.set()
    batching = BatchingPredictor(slow, max_batch=8, max_delay=LONG)
    began = time.monotonic()
    for k in range(20):
        assert batching.predict(one(k)).mean() == k
    assert time.monotonic() - began < LONG / 2
    assert slow.sizes == [1] * 20


def test_stragglers_are_waited_for_once_there_is_company() -> None:
    slow = SlowPredictor()
    batching = BatchingPredictor(slow, max_batch=3, max_delay=LONG)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(batching.predict, one(0))]
        wait_until(lambda: slow.inside == 1, "the first runs")
        results += [pool.submit(batching.predict, one(k)) for k in (1, 2)]
        wait_until(lambda: waiting(batching) == 2, "two wait")
        slow.go.set()
        wait_until(results[0].done, "the first is done")
        time.sleep(0.05)
        assert slow.sizes == [1]  # the two wait for a third
        results.append(pool.submit(batching.predict, one(3)))
        assert sorted(r.result(LONG).mean() for r in results) == [0, 1, 2, 3]
    assert slow.sizes == [1, 3]


def test_the_delay_has_an_end() -> None:
    slow = SlowPredictor()
    batching = BatchingPredictor(slow, max_batch=3, max_delay=0.05)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(batching.predict, one(0))]
        wait_until(lambda: slow.inside == 1, "the first runs")
        results += [pool.submit(batching.predict, one(k)) for k in (1, 2)]
        wait_until(lambda: waiting(batching) == 2, "two wait")
        slow.go.set()
        assert sorted(r.result(LONG).mean() for r in results) == [0, 1, 2]
    assert slow.sizes == [1, 2]


def test_an_error_reaches_every_caller_and_the_next_call_works() -> None:
    slow = SlowPredictor()
    slow.error = CutError("a fault for the test")
    batching = BatchingPredictor(slow, max_batch=8, max_delay=0.0)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(batching.predict, one(0))]
        wait_until(lambda: slow.inside == 1, "the first runs")
        results += [pool.submit(batching.predict, one(k)) for k in range(1, 5)]
        wait_until(lambda: waiting(batching) == 4, "four wait")
        slow.go.set()
        for result in results:
            with pytest.raises(CutError, match="a fault for the test"):
                result.result(LONG)
    assert slow.sizes == [1, 4]
    slow.error = None
    assert batching.predict(one(7)).mean() == 7


def test_inputs_of_another_size_go_apart() -> None:
    slow = SlowPredictor()
    batching = BatchingPredictor(slow, max_batch=8, max_delay=0.0)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(batching.predict, one(0))]
        wait_until(lambda: slow.inside == 1, "the first runs")
        for k, size in enumerate((8, 8, 16, 16)):
            results.append(pool.submit(batching.predict, one(k + 1, size)))
            wait_until(lambda k=k: waiting(batching) == k + 1, "it waits")
        slow.go.set()
        assert [r.result(LONG).shape[1] for r in results] == [8, 8, 8, 16, 16]
        assert [r.result(LONG).mean() for r in results] == [0, 1, 2, 3, 4]
    assert slow.sizes == [1, 2, 2]


def test_many_threads_get_what_is_theirs() -> None:
    slow = SlowPredictor()
    slow.go.set()
    batching = BatchingPredictor(slow, max_batch=4, max_delay=0.001)

    def play(k: int) -> bool:
        return all(batching.predict(one(k + j / 64)).mean() == k + j / 64 for j in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(play, range(8)))
    assert sum(slow.sizes) == 400
    assert max(slow.sizes) <= 4
