"""Encode a box around the object as inputs of the network.

The network knows clicks and a previous probability. A box is encoded as both: background clicks
on a ring outside the box; an object click at its centre, until the user makes one; and an ellipse
inside the box as the previous probability before the first pass. The values below were the best of
those tried (benchmarks/results/box.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import Point
from clickcut.region import Region

BOX_PASSES = 2
"""Network passes for a box; the second one sees the result of the first."""

RING_POINTS_PER_SIDE = 2
"""Background points along each side of the box."""

RING_DISTANCE = 0.04
"""Their distance from the box, as a fraction of its width or height; at least a pixel."""

PRIOR = np.float32(0.5)
"""Previous probability in the ellipse."""

PRIOR_SIZE = 0.9
"""Axes of the ellipse as a fraction of the box's width and height."""


def box_ring(box: Region, width: int, height: int) -> list[Point]:
    """Return the background points (x, y) around a box that lie inside the image."""
    dx = max(1.0, RING_DISTANCE * box.width)
    dy = max(1.0, RING_DISTANCE * box.height)
    left, right, top, bottom = box.x0 - dx, box.x1 - 1 + dx, box.y0 - dy, box.y1 - 1 + dy
    ring = []
    for k in range(RING_POINTS_PER_SIDE):
        t = (k + 0.5) / RING_POINTS_PER_SIDE
        x, y = left + t * (right - left), top + t * (bottom - top)
        ring += [(x, top), (right, y), (x, bottom), (left, y)]
    pixels = dict.fromkeys((round(x), round(y)) for x, y in ring)
    return [(x, y) for x, y in pixels if 0 <= x < width and 0 <= y < height]


def box_middle(box: Region) -> Point:
    """Return the centre pixel of a box, (x, y)."""
    return (box.x0 + box.x1 - 1) // 2, (box.y0 + box.y1 - 1) // 2


def box_probability(box: Region, region: Region, size: int) -> NDArray[np.float32]:
    """Return the ellipse in a box as a probability over `region`, (size, size) float32."""
    x = region.x0 + (np.arange(size) + 0.5) * region.width / size
    y = region.y0 + (np.arange(size) + 0.5) * region.height / size
    u = (x - (box.x0 + box.x1) / 2) / (PRIOR_SIZE * box.width / 2)
    v = (y - (box.y0 + box.y1) / 2) / (PRIOR_SIZE * box.height / 2)
    return (v[:, None] ** 2 + u[None, :] ** 2 <= 1) * PRIOR
