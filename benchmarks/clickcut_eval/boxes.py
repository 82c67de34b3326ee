"""`clickcut eval box`: how good the selection is after a box, and after a few clicks beside it.

A user draws a box around the object, tight or a little too large, then clicks at the deepest error.
The row without a box is the same user with clicks alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.selection import bounding_box
from clickcut.session import ClickSession
from clickcut_eval.clicker import Clicker
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import open_dataset
from clickcut_eval.metrics import interval
from clickcut_eval.run import evenly
from clickcut_eval.targets import Target

LOOSENED: tuple[float | None, ...] = (None, 0.0, 0.1)
"""How far a box's sides are moved outwards, as a part of its width and height; None: no box."""

CLICKS = 3
"""Clicks after the box."""


@dataclass(frozen=True)
class BoxRow:
    """A row of the table.

    Attributes:
        dataset: title.
        loosened: see `LOOSENED`.
        ious: (objects, 1 + `CLICKS`) float64: IoU after the box, and after each click.
    """

    dataset: str
    loosened: float | None
    ious: NDArray[np.float64]


def measure_boxes(
    specs: Iterable[DataSpec], predictor: Predictor, limit: int | None = None
) -> list[BoxRow]:
    """Measure all objects of data sets.

    Args:
        specs: data sets.
        predictor: the model.
        limit: only so many objects of each, evenly chosen.

    Raises:
        DatasetError: see `open_dataset`.
    """
    rows = []
    for spec in specs:
        dataset, targets = open_dataset(spec)
        chosen = evenly(targets, limit)
        for loosened in LOOSENED:
            played = (_play(target, predictor, loosened) for target in chosen)
            ious = np.array([course for course in played if course is not None])
            rows.append(BoxRow(dataset.title, loosened, ious))
    return rows


def loosened_box(box: Region, part: float, width: int, height: int) -> tuple[float, ...]:
    """x0, y0, x1, y1 of a box whose sides are moved outwards, inside an image.

    Args:
        box: tight.
        part: of its width and height.
        width: of the image, pixels.
        height: of the image.
    """
    dx, dy = part * box.width, part * box.height
    return (
        max(0.0, box.x0 - dx),
        max(0.0, box.y0 - dy),
        min(width - 1.0, box.x1 - 1 + dx),
        min(height - 1.0, box.y1 - 1 + dy),
    )


def _play(target: Target, predictor: Predictor, loosened: float | None) -> list[float] | None:
    """IoU after the box and after each click; None when the object has no pixels."""
    ground_truth = target.ground_truth()
    box = bounding_box(ground_truth.mask)
    if box is None:
        return None
    session = ClickSession(prepare_pixels(target.pixels()), predictor)
    if loosened is not None:
        session.box(*loosened_box(box, loosened, session.image.width, session.image.height))
    clicker = Clicker(ground_truth.mask, ground_truth.ignore)
    ious = [clicker.iou(session.mask)]
    for _ in range(CLICKS):
        wanted = clicker.next_click(session.mask)
        if wanted is not None:
            session.click(*wanted)
        ious.append(clicker.iou(session.mask))
    return ious


def table_of(rows: Sequence[BoxRow]) -> str:
    """The rows as a Markdown table: mean IoU in percent, with 95 % intervals."""
    heads = ["box", *(f"+ {k} click{'s' if k > 1 else ''}" for k in range(1, CLICKS + 1))]
    lines = [
        f"| data set | objects | box | {' | '.join(heads)} |",
        "|" + "---|" * (3 + len(heads)),
    ]
    for row in rows:
        low, high = 100 * interval(row.ious)
        cells = [
            "" if row.loosened is None and k == 0 else f"{mean:.1f} ({low[k]:.1f}-{high[k]:.1f})"
            for k, mean in enumerate(100 * row.ious.mean(axis=0))
        ]
        name = "none" if row.loosened is None else f"{row.loosened:.0%} larger on each side"
        name = "tight" if row.loosened == 0 else name
        lines.append(f"| {row.dataset} | {len(row.ious)} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
