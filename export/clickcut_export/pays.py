"""What a smaller form of a model costs in clicks and saves in time, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clickcut.backends import Predictor
from clickcut_eval.accuracy import measure_all
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import open_dataset
from clickcut_eval.metrics import Outcome, interval, summary
from clickcut_eval.targets import Target
from clickcut_export.errors import ExportError
from clickcut_export.parity import Batch

MAX_LOSS = 0.15
"""Clicks per object that a smaller form may lose."""


@dataclass(frozen=True)
class Validation:
    """Objects that the clicks are counted on.

    Attributes:
        name: for people.
        targets: the objects.
        target_iou: IoU at which the user stops.
    """

    name: str
    targets: Sequence[Target]
    target_iou: float


@dataclass(frozen=True)
class Clicks:
    """Mean clicks on one set of objects.

    Attributes:
        name: of the set.
        target_iou: IoU that was clicked for.
        cut: with the graph cut.
        before: of the float model, as `clickcut_eval.metrics.summary`.
        after: of the smaller one.
        interval: 95 % bootstrap interval of `lost`, over the differences of the objects.
    """

    name: str
    target_iou: float
    cut: bool
    before: dict[str, Any]
    after: dict[str, Any]
    interval: tuple[float, float]

    @property
    def lost(self) -> float:
        """Mean clicks more than the float model needs."""
        return float(self.after["mean_clicks"] - self.before["mean_clicks"])


@dataclass(frozen=True)
class Speed:
    """Median milliseconds of one prediction, measured in turns."""

    before: float
    after: float


def named_validation(spec: DataSpec, limit: int | None) -> Validation:
    """A data set of `clickcut eval`.

    Raises:
        DatasetError: an unknown kind, or a folder that is not as it should be.
    """
    dataset, targets = open_dataset(spec)
    return Validation(spec.name, targets[:limit], dataset.target)


def count_clicks(
    before: Predictor,
    after: Predictor,
    validations: Sequence[Validation],
    cuts: Sequence[bool],
    progress: Callable[[str, int], Callable[[], None]],
) -> list[Clicks]:
    """Simulate all sessions on both models.

    Args:
        before: the float model.
        after: the smaller one.
        validations: sets of objects.
        cuts: with the graph cut, without it, or both.
        progress: (what, steps) -> called after each step.
    """
    out = []
    for validation in validations:
        for cut in cuts:
            found: list[list[Outcome]] = []
            for predictor, form in ((before, "float"), (after, "smaller")):
                parameters = predictor.metadata.parameters.changed(cut=cut)
                stop = max(0.9, validation.target_iou)
                step = progress(
                    f"{validation.name}, {form}{'' if cut else ', no cut'}", len(validation.targets)
                )
                outcomes = []
                for outcome in measure_all(validation.targets, predictor, parameters, stop_at=stop):
                    outcomes.append(outcome)
                    step()
                if not outcomes:
                    raise ExportError(f"{validation.name}: holds no object to click on")
                found.append(outcomes)
            out.append(_compared(validation, cut, *found))
    return out


def _compared(
    validation: Validation, cut: bool, before: list[Outcome], after: list[Outcome]
) -> Clicks:
    target = validation.target_iou
    lost = [
        float(b.clicks_to(target) - a.clicks_to(target)) for a, b in zip(before, after, strict=True)
    ]
    low, high = interval(lost)
    return Clicks(
        validation.name,
        target,
        cut,
        summary(before, target),
        summary(after, target),
        (float(low), float(high)),
    )


def compare_speed(before: Predictor, after: Predictor, batch: Batch, rounds: int = 30) -> Speed:
    """Time both in turns on one input, (1, C, S, S) float32, so that other load hits both."""
    spent: tuple[list[float], list[float]] = ([], [])
    for predictor in (before, after):
        predictor.predict(batch)
    for _ in range(rounds):
        for times, predictor in zip(spent, (before, after), strict=True):
            began = time.perf_counter()
            predictor.predict(batch)
            times.append(1e3 * (time.perf_counter() - began))
    return Speed(*(float(np.median(times)) for times in spent))


def verdict(clicks: Sequence[Clicks], speed: Speed, most: float = MAX_LOSS) -> str:
    """Whether the smaller form pays, and if not, why."""
    reasons = [
        f"{c.name}{'' if c.cut else ', no cut,'} needs {c.lost:+.2f} clicks (at most {most:+.2f})"
        for c in clicks
        if c.lost > most
    ]
    if speed.after >= speed.before:
        reasons.append(f"a prediction takes {speed.after:.1f} ms instead of {speed.before:.1f}")
    if reasons:
        return "does not pay: " + "; ".join(reasons)
    worst = max((c.lost for c in clicks), default=0.0)
    return f"pays: {speed.before / speed.after:.1f} times as fast, {worst:+.2f} clicks at worst"
