"""Click sessions in progress, arranged so that a run is the same however it is divided or resumed.

A step learns from one sample of each of B *lanes* (B = the global batch). A lane owns some sessions
in progress and a random generator; at each step it picks one of its sessions, the network's answer
decides the session's next click, and a session that ends is replaced by the lane's next fresh
sample. Fresh sample k of lane j is photo number k * B + j of the epoch order, drawn with a
generator seeded by (seed, j, k). A process of W owns B / W neighbouring lanes, so W processes see
the samples that one process would see.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickcut_train.data import PhotoSource, order
from clickcut_train.errors import CheckpointError, DataError
from clickcut_train.paste import paste
from clickcut_train.refine import Window, closer_sample, draw_window, look_back
from clickcut_train.sample_options import SampleOptions
from clickcut_train.samples import Sample, draw

MAX_EMPTY = 1000
"""Photographs in a row without a usable object after which a run stops."""

Fresh = Callable[[int, int], tuple[int, Sample]]
"""Lane and first k -> the k that gave a sample, and the sample."""


def fresh_samples(
    source: PhotoSource, options: SampleOptions, size: int, lanes: int, seed: int
) -> Fresh:
    """The function that draws fresh samples; see the module's text.

    Args:
        source: the photographs.
        options: how samples are drawn.
        size: side of a crop, pixels.
        lanes: B, of all processes.
        seed: of the run.
    """
    numbers = order(source, seed)

    def fresh(lane: int, k: int) -> tuple[int, Sample]:
        for attempt in range(k, k + MAX_EMPTY):
            photo = source.photo(numbers[attempt * lanes + lane])
            rng = np.random.default_rng([seed, lane, attempt])
            if options.paste and rng.random() < options.paste:
                onto = source.photo(numbers[int(rng.integers(numbers.epoch_length))])
                photo = paste(photo, onto, rng, options.area_exponent) or photo
            sample = draw(photo, size, options, rng)
            if sample is not None:
                return attempt, sample
        raise DataError(
            f"{MAX_EMPTY} photographs in a row gave no usable object; look at "
            "`clickcut train preview`, and at data.min_area"
        )

    return fresh


@dataclass
class SimulatedSession:
    """A sample with clicks in progress.

    Attributes:
        k: which fresh sample of its lane it was.
        sample: the view and its clicks.
        window: of the closer look in progress, or None.
        closer: what the look shows, or None.
    """

    k: int
    sample: Sample
    window: Window | None = None
    closer: Sample | None = None

    @property
    def shown(self) -> Sample:
        """What the network learns from next."""
        return self.closer or self.sample

    def look_closer(self, window: Window) -> None:
        """Show a window of the sample next."""
        self.window, self.closer = window, closer_sample(self.sample, window)

    def look_back(self, probability: NDArray[np.float32]) -> None:
        """End the closer look in progress with the network's answer to it, (S, S) float32."""
        if self.window is not None:
            look_back(self.sample, self.window, probability)
        self.window = self.closer = None


class Lane:
    """One lane: see the module's text.

    Args:
        index: j.
        seed: of the run.
        fresh: draws fresh samples.
        threads: where they are drawn ahead.
        refine: probability of a closer look after a correction.
    """

    def __init__(
        self, index: int, seed: int, fresh: Fresh, threads: Executor, refine: float = 0.0
    ) -> None:
        self.index = index
        self.rng = np.random.default_rng([seed, index])
        self.sessions: list[SimulatedSession] = []
        self._fresh, self._threads, self._refine = fresh, threads, refine
        self._chosen = 0
        self._ahead: Future[tuple[int, Sample]]
        self.draw_ahead(0)

    def draw_ahead(self, k: int) -> None:
        """Begin to draw fresh sample `k` or the first one after it that there is."""
        self._next = k
        self._ahead = self._threads.submit(self._fresh, self.index, k)

    def take(self) -> SimulatedSession:
        """The next fresh sample."""
        k, sample = self._ahead.result()
        self.draw_ahead(k + 1)
        return SimulatedSession(k, sample)

    def choose(self) -> Sample:
        """Pick the session that takes part in this step."""
        self._chosen = int(self.rng.integers(len(self.sessions)))
        return self.sessions[self._chosen].shown

    def advance(self, probability: NDArray[np.float32], next_click: float) -> None:
        """Give the chosen session a closer look at its last click, its next click, or replace it.

        Args:
            probability: (S, S) float32, the network's answer.
            next_click: probability of one more correction.
        """
        session = self.sessions[self._chosen]
        if session.window is not None:
            session.look_back(probability)
        else:
            session.sample.probability = probability.astype(np.float16)
            last = session.sample.last
            if self._refine and last is not None and self.rng.random() < self._refine:
                session.look_closer(draw_window(last, len(probability), self.rng))
                return
        if self.rng.random() < next_click and session.sample.correct(self.rng):
            return
        self.sessions[self._chosen] = self.take()

    def state(self) -> dict[str, Any]:
        """Everything but the crops, which are drawn again from their k."""
        generator = self.rng.bit_generator.state
        return {
            # The generator's integers have 128 bits, which safe unpickling does not take.
            "rng": {k: hex(v) for k, v in generator["state"].items()},
            "buffered": [int(generator["has_uint32"]), int(generator["uinteger"])],
            "next": self._next,
            "k": [s.k for s in self.sessions],
            "positive": [[[int(v) for v in c] for c in s.sample.positive] for s in self.sessions],
            "negative": [[[int(v) for v in c] for c in s.sample.negative] for s in self.sessions],
            "last": [s.sample.last and [int(v) for v in s.sample.last] for s in self.sessions],
            "window": [s.window and list(s.window) for s in self.sessions],
            "probability": [_packed(s.sample.probability) for s in self.sessions],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.rng.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {k: int(v, 16) for k, v in state["rng"].items()},
            "has_uint32": state["buffered"][0],
            "uinteger": state["buffered"][1],
        }
        jobs = [self._threads.submit(self._fresh, self.index, k) for k in state["k"]]
        none = [None] * len(jobs)  # checkpoints of earlier versions have no last click
        self.sessions = []
        for i, job in enumerate(jobs):
            k, sample = job.result()
            if k != state["k"][i]:
                raise CheckpointError(
                    "the photographs are not those that the run began with: a sample of the "
                    "checkpoint cannot be drawn again; give the same data, or start a new run"
                )
            sample.positive = [(x, y) for x, y in state["positive"][i]]
            sample.negative = [(x, y) for x, y in state["negative"][i]]
            sample.probability = _unpacked(state["probability"][i], sample.probability.shape)
            last, window = state.get("last", none)[i], state.get("window", none)[i]
            sample.last = None if last is None else (last[0], last[1])
            self.sessions.append(SimulatedSession(k, sample))
            if window is not None:
                self.sessions[-1].look_closer(Window(*window))
        self.draw_ahead(state["next"])


def _packed(probability: NDArray[np.float16]) -> torch.Tensor:
    packed = zlib.compress(np.ascontiguousarray(probability).tobytes(), 1)
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def _unpacked(packed: torch.Tensor, shape: tuple[int, ...]) -> NDArray[np.float16]:
    try:
        raw = zlib.decompress(packed.numpy().tobytes())
    except zlib.error as error:
        raise CheckpointError(f"the checkpoint's probabilities are damaged ({error})") from error
    if len(raw) != 2 * shape[0] * shape[1]:
        raise CheckpointError("the checkpoint's samples have another size than model.input_size")
    return np.frombuffer(raw, np.float16).reshape(shape).copy()


class Lanes:
    """The lanes of one process.

    Args:
        fresh: draws fresh samples.
        indices: the lanes of this process.
        per_lane: sessions in progress in each.
        seed: of the run.
        next_click: probability of one more correction.
        workers: threads that draw ahead; as many advance the sessions.
        refine: probability of a closer look after a correction.
    """

    def __init__(
        self,
        fresh: Fresh,
        indices: range,
        per_lane: int,
        seed: int,
        next_click: float,
        workers: int,
        refine: float = 0.0,
    ) -> None:
        self._next_click, self._per_lane = next_click, per_lane
        self._draw = ThreadPoolExecutor(workers, "draw")
        self.threads = ThreadPoolExecutor(workers, "advance")
        self.lanes = [Lane(j, seed, fresh, self._draw, refine) for j in indices]

    def begin(self) -> None:
        """Fill all lanes with fresh samples."""
        for _ in range(self._per_lane):
            for lane in self.lanes:
                lane.sessions.append(lane.take())

    def choose(self) -> list[Sample]:
        """One sample of each lane."""
        return [lane.choose() for lane in self.lanes]

    def advance(self, probabilities: NDArray[np.float32]) -> None:
        """Bring the chosen sessions forward; `probabilities` is (lanes, S, S) float32."""
        jobs = zip(self.lanes, probabilities, strict=True)
        list(self.threads.map(lambda job: job[0].advance(job[1], self._next_click), jobs))

    @property
    def mean_clicks(self) -> float:
        """Clicks of a session in progress, on average."""
        counts = [
            len(s.sample.positive) + len(s.sample.negative)
            for lane in self.lanes
            for s in lane.sessions
        ]
        return float(np.mean(counts))

    def state(self) -> dict[int, dict[str, Any]]:
        """By lane."""
        return {lane.index: lane.state() for lane in self.lanes}

    def restore(self, state: dict[int, dict[str, Any]]) -> None:
        """Go on from states of `state`, of this or of other processes.

        Raises:
            CheckpointError: a lane is missing, or has another number of sessions; the data differ.
        """
        for lane in self.lanes:
            if lane.index not in state or len(state[lane.index]["k"]) != self._per_lane:
                raise CheckpointError(
                    "the checkpoint's samplers do not fit: schedule.batch and sessions.pool must "
                    "be those that the run began with"
                )
            lane.restore(state[lane.index])

    def close(self) -> None:
        """End the threads; what is being drawn is finished, the rest is dropped."""
        for threads in (self._draw, self.threads):
            threads.shutdown(wait=True, cancel_futures=True)


def lanes_of(rank: int, world: int, batch: int) -> range:
    """The lanes of process `rank` of `world`."""
    return range(rank * batch // world, (rank + 1) * batch // world)
