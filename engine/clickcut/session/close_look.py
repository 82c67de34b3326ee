"""Find small objects in large images, which the network cannot resolve in the whole image.

In a photograph of 8000 x 6000 pixels an object of 60 pixels is three network pixels long, and the
network selects its surroundings. So if the first output on a large image is uncertain, the network
is applied to windows around the click, smallest first. The output of a window is used only if it is
a small separate object: inside a large object there is no outline, and much of the window is
selected (benchmarks/results/regions.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import Point
from clickcut.region import Region, around

LARGE = 4.0
"""Minimum image pixels per network pixel, along the longer side, of a large region."""

CLOSEST = 1.3
"""Image pixels per network pixel in the smallest window; each larger one has twice as many."""

UNSURE = 0.78
"""An output is uncertain if the mean probability of its selection is below this."""

SMALL = 0.012
"""Maximum fraction of a window that a small object takes."""


def windows(width: int, height: int, point: Point, size: int, count: int) -> list[Region]:
    """Return the windows around a click, smallest first; none if the image is not large.

    Args:
        width: of the image, pixels.
        height: of the image.
        point: the click.
        size: network pixels along each side.
        count: maximum number.
    """
    whole = max(width, height)
    if whole < LARGE * size:
        return []
    sides = (math.ceil(CLOSEST * size * 2**k) for k in range(count))
    return [around(point, side, side, width, height) for side in sides if side <= whole / 2]


def is_unsure(probability: NDArray[np.float32]) -> bool:
    """Return whether an output, (S, S) float32, is uncertain: the object may be too small."""
    selected = probability[probability > 0.5]
    return selected.size == 0 or float(selected.mean()) < UNSURE


def shows_small_object(probability: NDArray[np.float32], region: Region, point: Point) -> bool:
    """Return whether an output is a small object that contains the click.

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
