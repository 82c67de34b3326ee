"""The state of an object after some events, and the time to compute it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickcut import tracing
from clickcut.region import Region
from clickcut.selection import EMPTY, Selection
from clickcut.session.refinement import Refinement, blended

Timings = dict[str, float]
"""Milliseconds by stage, "maps", "network" and "cut"; a stage that did not run is absent."""


@dataclass(frozen=True, slots=True)
class State:
    """The state after some events.

    Attributes:
        selection: the mask.
        region: of the last prediction; None if there was none since the last reset.
        logits: (S, S) float32 over `region`, or None with it.
        refinement: of these logits, or None.
    """

    selection: Selection = EMPTY
    region: Region | None = None
    logits: NDArray[np.float32] | None = None
    refinement: Refinement | None = None

    @property
    def object_probability(self) -> tuple[Region, NDArray[np.float32]] | None:
        """The region and the probability over it, (S, S) float32; None before a prediction."""
        if self.region is None or self.logits is None:
            return None
        return self.region, probability(blended(self.logits, self.region, self.refinement))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return (
            self.selection.nbytes
            + (0 if self.logits is None else self.logits.nbytes)
            + (0 if self.refinement is None else self.refinement.logits.nbytes)
        )


class Computed(NamedTuple):
    """A state and the time to compute it.

    Attributes:
        state: the result.
        timings: of its computation.
    """

    state: State
    timings: Timings


@dataclass(frozen=True, slots=True)
class Step:
    """The effect of an event.

    Attributes:
        changed: the rectangle in which the mask changed; None = nowhere.
        timings: of the event.
    """

    changed: Region | None
    timings: Timings


@contextmanager
def timed(timings: Timings, stage: str) -> Iterator[None]:
    """Add the milliseconds of the context to a stage."""
    began = time.perf_counter()
    with tracing.span(stage):
        yield
    timings[stage] = timings.get(stage, 0.0) + 1e3 * (time.perf_counter() - began)


def probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sigmoid of logits, element by element, float32."""
    # Clipped so that exp cannot overflow; sigmoid(-80) is 0 in float32 already.
    return np.float32(1) / (np.float32(1) + np.exp(np.clip(-logits, -80, 80)))


def total(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """Return the sum of the timings of two steps."""
    return {k: first.get(k, 0.0) + second.get(k, 0.0) for k in first | second}
