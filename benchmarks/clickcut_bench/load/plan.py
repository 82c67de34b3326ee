"""When each virtual annotator does what: drawn before the run, so that no reply shifts it.

The load is *open loop*: the time of every step is fixed in advance, and its latency counts from
that time. A server that stalls therefore has all the waiting on its account; in a closed loop the
annotators would wait with it, and the steps that they did not make would be missing from the
percentiles (coordinated omission; G. Tene, "How NOT to Measure Latency").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["first click", "click", "undo"]
"""A first click is everything up to the first mask: upload, opening a session, the click."""

KINDS: tuple[Kind, ...] = ("first click", "click", "undo")


@dataclass(frozen=True)
class Habits:
    """How annotators work.

    Attributes:
        think_seconds: mean time between the intended times of two steps.
        think_spread: standard deviation of the logarithm of that time, which is log-normal; 0 for
            a constant.
        undo_share: fraction of later clicks that are undone and made again.
        abandon_share: fraction of sessions that are left without being closed, and before their
            last click.
    """

    think_seconds: float = 4.0
    think_spread: float = 0.5
    undo_share: float = 0.1
    abandon_share: float = 0.05

    def think(self, rng: np.random.Generator) -> float:
        """Draw a think time, seconds."""
        spread = self.think_spread
        # The mean of a log-normal distribution is exp(mu + sigma^2 / 2).
        return self.think_seconds * math.exp(spread * rng.standard_normal() - spread**2 / 2)


@dataclass(frozen=True)
class Step:
    """One thing that an annotator does.

    Attributes:
        at: intended time, seconds from the start of the run.
        kind: of `KINDS`.
        click: index of the click in the sequence that is being played; of `undo`, the click that
            is undone.
    """

    at: float
    kind: Kind
    click: int


@dataclass(frozen=True)
class Visit:
    """A session of an annotator: one photograph.

    Attributes:
        sequence: index of the click sequence.
        nonce: unique in the run.
        steps: in order; the first one is the first click.
        abandoned: whether the session is left without being closed.
    """

    sequence: int
    nonce: int
    steps: tuple[Step, ...]
    abandoned: bool


def plan(
    annotators: int,
    seconds: float,
    ramp: float,
    habits: Habits,
    lengths: Sequence[int],
    seed: int,
) -> list[list[Visit]]:
    """Draw what each annotator does.

    Args:
        annotators: how many.
        seconds: no step is intended after this time.
        ramp: annotators arrive one by one in this time, at uniformly random times: a Poisson
            process of which the number of arrivals is known.
        habits: of all of them.
        lengths: clicks of each sequence, each at least 1.
        seed: of the random numbers.

    Returns:
        The visits of each annotator, in order.
    """
    rng = np.random.default_rng(seed)
    arrivals = np.sort(rng.uniform(0.0, ramp, annotators))
    nonces = iter(range(2**62))
    plans = []
    for at in arrivals.tolist():
        visits = []
        while at < seconds:
            sequence = int(rng.integers(len(lengths)))
            steps, abandoned = _steps(at, lengths[sequence], habits, rng)
            kept = tuple(step for step in steps if step.at < seconds)
            visits.append(Visit(sequence, next(nonces), kept, abandoned))
            at = steps[-1].at + habits.think(rng)
        plans.append(visits)
    return plans


def _steps(
    at: float, clicks: int, habits: Habits, rng: np.random.Generator
) -> tuple[list[Step], bool]:
    """Return the steps of one visit, and whether it is abandoned."""
    abandoned = bool(rng.random() < habits.abandon_share)
    if abandoned:
        clicks = int(rng.integers(1, clicks + 1))
    steps = [Step(at, "first click", 0)]
    for click in range(1, clicks):
        kinds: list[Kind] = ["click"]
        if rng.random() < habits.undo_share:
            kinds += ["undo", "click"]
        for kind in kinds:
            at += habits.think(rng)
            steps.append(Step(at, kind, click))
    return steps, abandoned
