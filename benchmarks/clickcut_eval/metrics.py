"""From the course of each object to the numbers of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut_eval.clicker import Click

MAX_CLICKS = 20
"""Clicks after which a user gives up (paper section 4.1)."""

TARGETS = (0.85, 0.9, 0.95)
"""IoUs that clicks are counted to on every data set."""


@dataclass(frozen=True)
class Outcome:
    """How one object went.

    Attributes:
        name: of the object.
        ious: IoU after 1, 2, ... clicks; ends where the user stopped or gave up.
        clicks: (x, y, positive) of each click.
        seconds: spent in the method for each click; of the processor, one core, where jobs run on
            processes.
        image_seconds: spent in the method before the first click.
        category: class name of the object; "" if there is none.
        area: object pixels.
        size: width and height of the photograph, pixels.
    """

    name: str
    ious: list[float]
    clicks: list[Click]
    seconds: list[float]
    image_seconds: float = 0.0
    category: str = ""
    area: int = 0
    size: tuple[int, int] = (0, 0)

    def clicks_to(self, target: float, max_clicks: int = MAX_CLICKS) -> int:
        """Clicks until IoU `target`; `max_clicks` if it was not reached with as many."""
        reached = (k for k, iou in enumerate(self.ious[:max_clicks], 1) if iou >= target)
        return next(reached, max_clicks)

    def reaches(self, target: float) -> bool:
        """Whether IoU `target` was reached at some click."""
        return max(self.ious, default=0.0) >= target


def curves(outcomes: Sequence[Outcome], max_clicks: int = MAX_CLICKS) -> NDArray[np.float64]:
    """IoU after 1..`max_clicks` clicks: (objects, max_clicks) float64.

    An object whose user stopped earlier keeps its last IoU.
    """
    out = np.zeros((len(outcomes), max_clicks))
    for row, outcome in zip(out, outcomes, strict=True):
        ious = outcome.ious[:max_clicks] or [0.0]
        row[: len(ious)] = ious
        row[len(ious) :] = ious[-1]
    return out


def interval(
    values: NDArray[np.float64] | Sequence[float], draws: int = 2000
) -> NDArray[np.float64]:
    """95 % bootstrap interval (percentiles) of the mean over objects; the same for every call.

    Args:
        values: (objects,) or (objects, n).
        draws: how often the objects are drawn with replacement.

    Returns:
        (2,) or (2, n) float64, lower and upper end.
    """
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(0)
    count = len(values)
    # Counting how often each object was drawn makes every mean a product with one matrix.
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return np.percentile(drawn @ values / count, [2.5, 97.5], axis=0)


def summary(
    outcomes: Sequence[Outcome],
    target: float,
    max_clicks: int = MAX_CLICKS,
    stop_at: float = 1.0,
) -> dict[str, Any]:
    """The numbers of one method on one data set; `outcomes` must not be empty.

    Args:
        outcomes: of its objects.
        target: IoU that the data set is measured to.
        max_clicks: clicks that each object was given.
        stop_at: IoU at which the user stopped; what lies above it is not known.

    Returns:
        objects, target_iou; mean_clicks (NoC@target) with its interval, never_reached (NoF@target);
        noc85, noc90, noc95, nof85, nof90, nof95, None above `stop_at`; iou_after: mean IoU after 1,
        2, 3 and 5 clicks; final_iou: after `max_clicks`, None if users stopped earlier; curve:
        after 1..`max_clicks`; area_under: its mean; seconds_per_click, seconds_per_image.
    """
    clicks = [float(o.clicks_to(target, max_clicks)) for o in outcomes]
    ious = curves(outcomes, max_clicks)
    mean = ious.mean(axis=0)
    made = sum(len(o.seconds) for o in outcomes)
    numbers: dict[str, Any] = {
        "objects": len(outcomes),
        "target_iou": target,
        "mean_clicks": float(np.mean(clicks)),
        "interval": interval(clicks).tolist(),
        "never_reached": sum(not o.reaches(target) for o in outcomes),
    }
    for t in TARGETS:
        name, known = round(100 * t), t <= stop_at
        counts = [o.clicks_to(t, max_clicks) for o in outcomes]
        numbers[f"noc{name}"] = float(np.mean(counts)) if known else None
        numbers[f"nof{name}"] = sum(not o.reaches(t) for o in outcomes) if known else None
    return numbers | {
        "iou_after": [float(mean[min(k, max_clicks) - 1]) for k in (1, 2, 3, 5)],
        "final_iou": float(mean[-1]) if stop_at >= 1 else None,
        "curve": mean.tolist(),
        "area_under": float(mean.mean()),
        "seconds_per_click": sum(sum(o.seconds) for o in outcomes) / max(made, 1),
        "seconds_per_image": float(np.mean([o.image_seconds for o in outcomes])),
    }
