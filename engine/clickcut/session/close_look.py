"""Small objects in large images: what the network cannot resolve in the whole image, it sees close.

In a photograph of 8000 x 6000 pixels an object of 60 is three network pixels long, and the network
selects whatever surrounds it. So where the first answer on a large image is unsure, the network is
shown windows around the click, closest first. A window counts only when what it shows is small and
alone: inside a large object the network finds no outline and selects a good part of the window
(benchmarks/results/regions.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import Point
from clickcut.region import Region, around

LARGE = 4.0
"""A region is large when one network pixel covers this many image pixels along its longer side."""

CLOSEST = 1.3
"""The closest window has this many image pixels for each network pixel; each further one twice as
many."""

UNSURE = 0.78
"""An answer is unsure when the mean probability of what it selects is lower."""

SMALL = 0.012
"""What a window shows is small when it selects at most this part of it."""


def windows(width: int, height: int, point: Point, size: int, count: int) -> list[Region]:
    """The windows around a click in which to look, closest first; none when the image is not large.

    Args:
        width: of the image, pixels.
        height: of the image.
        point: the click.
        size: network pixels along each side.
        count: at most so many.
    """
    whole = max(width, height)
    if whole < LARGE * size:
        return []
    sides = (math.ceil(CLOSEST * size * 2**k) for k in range(count))
    return [around(point, side, side, width, height) for side in sides if side <= whole / 2]


def is_unsure(probability: NDArray[np.float32]) -> bool:
    """Whether an answer, (S, S) float32, may be about something too small to see."""
    selected = probability[probability > 0.5]
    return selected.size == 0 or float(selected.mean()) < UNSURE


def shows_small_object(probability: NDArray[np.float32], region: Region, point: Point) -> bool:
    """Whether an answer is a small thing that holds the click.

    Args:
        probability: (S, S) float32 over `region`.
        region: a window.
        point: the click, (x, y), inside.
    """
    rows, columns = probability.shape
    column = int((point[0] - region.x0 + 0.5) * columns / region.width)
    row = int((point[1] - region.y0 + 0.5) * rows / region.height)
    selected = probability > 0.5
    return bool(selected[row, column]) and float(selected.mean()) <= SMALL
