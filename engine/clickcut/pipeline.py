"""The way of a click: maps -> region -> network -> cut, as one function of what came before.

`Pipeline.after` computes the state that follows an event. The result depends on its arguments
alone, never on what was computed before; buffers and the warm cut only make it fast.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.events import Event, InitialMask, Reset, SetParameters, points_in_force
from clickcut.images import PreparedImage
from clickcut.maps import Point
from clickcut.network_input import NetworkInput
from clickcut.parameters import Parameters
from clickcut.predictor import Predictor
from clickcut.region import Region, around_points, choose_region
from clickcut.region_cut import RegionCut
from clickcut.resample import move, resize
from clickcut.selection import EMPTY, Selection


@dataclass(frozen=True, slots=True)
class State:
    """What follows from the events so far.

    Attributes:
        selection: the mask.
        region: what the network saw last; None when it has not run since the last reset.
        logits: (S, S) float32 over `region`, or None with it.
    """

    selection: Selection = EMPTY
    region: Region | None = None
    logits: NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.selection.nbytes + (0 if self.logits is None else self.logits.nbytes)


class Pipeline:
    """Computes states for one session; one thread at a time.

    Args:
        image: shared between sessions.
        predictor: shared between sessions.
        solver: of the graph cut, one of `clickcut.cut.SOLVERS`.

    Attributes:
        timings: milliseconds by stage since it was cleared last: "maps", "network", "cut".
    """

    def __init__(self, image: PreparedImage, predictor: Predictor, solver: str) -> None:
        self.timings: dict[str, float] = {}
        self._image = image
        self._predictor = predictor
        self._solver = solver
        self._input = NetworkInput(image.pixels, predictor.metadata)
        self._sigma = 0.0
        self._cut = RegionCut(image, 0.0, solver)

    @property
    def nbytes(self) -> int:
        """Bytes held, the image not counted."""
        return self._input.nbytes + self._cut.nbytes

    def reset(self) -> None:
        """Forget the warm cut; nothing else depends on the past."""
        self._cut.reset()

    def after(
        self, state: State, events: Sequence[Event], event: Event, parameters: Parameters
    ) -> State:
        """The state after an event.

        Args:
            state: before it.
            events: all events in force before it.
            event: the new one.
            parameters: in force, a `SetParameters` event included.

        Raises:
            CutError: the network gave values that are not finite.
        """
        if isinstance(event, Reset):
            return State()
        if isinstance(event, InitialMask):
            shape = self._image.height, self._image.width
            bits = np.unpackbits(event.packed, count=shape[0] * shape[1])
            return State(Selection.of(bits.reshape(shape).view(np.bool_)))
        if isinstance(event, SetParameters):
            return self.decide(state, points_in_force(events), parameters)
        signs = points_in_force([*events, event])
        return self.decide(self._predict(state, signs), signs, parameters)

    def decide(self, state: State, signs: dict[Point, bool], parameters: Parameters) -> State:
        """The state with its mask decided from its logits.

        Args:
            state: its selection is not used, except when it has no logits: then it stays.
            signs: clicked pixel -> positive, in the order made.
            parameters: of the decision.
        """
        if state.region is None or state.logits is None:
            return state
        region = state.region
        with self._stage("cut"):
            logits = state.logits
            if parameters.threshold != 0.5:
                logits = logits - np.float32(
                    math.log(parameters.threshold / (1 - parameters.threshold))
                )
            if parameters.cut:
                self._use_sigma(parameters.cut_sigma)
                seeds = [(x, y, 1 if positive else -1) for (x, y), positive in signs.items()]
                mask = self._cut.solve(
                    logits,
                    region,
                    np.array(seeds, np.int32).reshape(-1, 3),
                    parameters.cut_lambda,
                    parameters.seed_radius,
                )
            else:
                shape = region.width, region.height
                mask = cv2.resize(logits, shape, interpolation=cv2.INTER_LINEAR) > 0
            return replace(state, selection=Selection.of(mask, region.x0, region.y0))

    def _predict(self, state: State, signs: dict[Point, bool]) -> State:
        policy = self._predictor.metadata.region
        with self._stage("maps"):
            needed = None
            if policy.zoom and state.selection.box is not None:
                clicked = around_points(signs)
                box = state.selection.box
                needed = box if clicked is None else box.union(clicked)
            region = choose_region(
                self._image.width,
                self._image.height,
                needed,
                state.region,
                policy.expansion,
                policy.min_side,
            )
            self._input.show(
                region,
                [p for p, positive in signs.items() if positive],
                [p for p, positive in signs.items() if not positive],
                self._previous(state, region),
            )
        with self._stage("network"):
            logits = self._predictor.predict(self._input.buffer)[0]
        return State(state.selection, region, logits)

    def _previous(self, state: State, region: Region) -> NDArray[np.float32] | None:
        """The previous probability over `region`, (S, S) float32; None at the start."""
        if state.region is not None and state.logits is not None:
            return move(probability(state.logits), state.region, region, outside=0.0)
        if state.selection.box is not None:
            inside = state.selection.inside(region).astype(np.float32)
            return resize(inside, self._predictor.metadata.input_size)
        return None

    def _use_sigma(self, sigma: float) -> None:
        if sigma != self._sigma:
            self._cut = RegionCut(self._image, sigma, self._solver)
            self._sigma = sigma

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent = 1e3 * (time.perf_counter() - began)
        self.timings[name] = self.timings.get(name, 0.0) + spent


def probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sigmoid, element by element, float32."""
    # Clipped so that exp cannot overflow; sigmoid(-80) is 0 in float32 already.
    return np.float32(1) / (np.float32(1) + np.exp(np.clip(-logits, -80, 80)))
