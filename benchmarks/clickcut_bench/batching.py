"""What dynamic batching does to callers that are alone and to several at once.

`clickcut bench backends` measures it in every back-end; `clickcut bench batching` on a stand-in for
a GPU, a network that takes one call at a time, with a fixed time per call and per input.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.backends.batching import BatchingPredictor
from clickcut.bundle import BundleMetadata, bundled_models
from clickcut.bundle.file import read_bundle
from clickcut_eval.machine import describe

DELAY = 1e-3
"""Seconds that a batch which has begun waits to be filled; the server's default."""

ROUNDS = 5
"""Plain and merging take turns so often, so that what else the machine does falls on both."""


class StandIn:
    """A predictor that only takes time.

    Args:
        metadata: of the model that it stands for.
        call_ms: time of each call.
        input_ms: time of each input in it.
    """

    backend = "stand-in"
    sha256 = ""

    def __init__(self, metadata: BundleMetadata, call_ms: float, input_ms: float) -> None:
        self.metadata = metadata
        self._call, self._input = 1e-3 * call_ms, 1e-3 * input_ms
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Nothing to do."""

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, S, S) -> (N, S, S) of zeros, after its time."""
        with self._lock:
            time.sleep(self._call + self._input * len(batch))
        return np.zeros((len(batch), *batch.shape[2:]), np.float32)


def compare(
    predictor: Predictor, one: NDArray[np.float32], callers: int, repeats: int, max_batch: int
) -> dict[str, dict[str, float]]:
    """Callers that predict as fast as they can, without and with merging.

    Args:
        predictor: without merging.
        one: (1, C, S, S) float32, what each caller predicts.
        callers: threads.
        repeats: predictions of each.
        max_batch: of the merging.

    Returns:
        For "plain" and "merging": p50_ms, p95_ms of a prediction, images_per_second.
    """
    ways = {
        "plain": predictor.predict,
        "merging": BatchingPredictor(predictor, max_batch, DELAY).predict,
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    each = max(2, repeats // ROUNDS)
    for _ in range(ROUNDS):
        for name, predict in ways.items():
            times, seconds = _crowd(predict, one, callers, each)
            spent[name] += times
            speeds[name].append(callers * each / seconds)
    return {
        name: {
            "p50_ms": float(np.percentile(spent[name], 50)),
            "p95_ms": float(np.percentile(spent[name], 95)),
            "images_per_second": float(np.median(speeds[name])),
        }
        for name in ways
    }


def _crowd(
    predict: Callable[[NDArray[np.float32]], object],
    one: NDArray[np.float32],
    callers: int,
    each: int,
) -> tuple[list[float], float]:
    """Milliseconds of each prediction, and seconds of all."""
    start = threading.Barrier(callers + 1)

    def play() -> list[float]:
        start.wait()
        times = []
        for _ in range(each):
            began = time.perf_counter()
            predict(one)
            times.append(1e3 * (time.perf_counter() - began))
        return times

    with ThreadPoolExecutor(callers) as pool:
        games = [pool.submit(play) for _ in range(callers)]
        start.wait()
        began = time.perf_counter()
        times = [ms for game in games for ms in game.result()]
        return times, time.perf_counter() - began


def run(
    call_ms: float, input_ms: float, callers: Sequence[int], repeats: int, max_batch: int
) -> list[dict[str, Any]]:
    """Measure on the stand-in and print a table."""
    from rich.console import Console
    from rich.table import Table

    metadata = read_bundle(bundled_models()["default"]).metadata
    stand_in = StandIn(metadata, call_ms, input_ms)
    size = metadata.input_size
    one = np.zeros((1, len(metadata.channels), size, size), np.float32)
    table = Table("callers", title=f"{call_ms:g} ms a call + {input_ms:g} ms an input")
    for name in ("plain", "merging"):
        for what in ("p50 ms", "p95 ms", "images/s"):
            table.add_column(f"{name}\n{what}", justify="right")
    rows = []
    for count in callers:
        found = compare(stand_in, one, count, repeats, max_batch)
        rows.append({"callers": count, **found})
        cells = [
            f"{way['p50_ms']:.2f} {way['p95_ms']:.1f} {way['images_per_second']:.0f}".split()
            for way in found.values()
        ]
        table.add_row(str(count), *cells[0], *cells[1])
    machine = describe()
    console = Console()
    console.print(f"{machine['cpu']}, {machine['cores']} cores; at most {max_batch} in a batch")
    console.print(table)
    return rows
