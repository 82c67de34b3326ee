"""A box around the object as a prompt: what the network is shown for it.

The network knows clicks and a previous probability. A box becomes both: clicks on the background
on a ring outside the box, one on the object in its middle until the user makes one, and an ellipse
inside the box as the previous probability of the first prediction
(benchmarks/results/box.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import Point
from clickcut.region import Region

RING_POINTS = 12
"""Background points around the box."""

RING_DISTANCE = 0.08
"""How far outside the box they lie, as a part of its sides."""

PRIOR = 0.5
"""Previous probability in the ellipse; 0 = none."""

PRIOR_SIZE = 0.9
"""Axes of the ellipse as a part of the box's sides."""

CENTRE = True


class BoxPoints(NamedTuple):
    """Points that stand for a box, (x, y) pixels of the image."""

    positive: list[Point]
    negative: list[Point]


def box_points(box: Region, width: int, height: int) -> BoxPoints:
    """The points that stand for a box on an image of `width` x `height` pixels."""
    dx = max(1.0, RING_DISTANCE * box.width)
    dy = max(1.0, RING_DISTANCE * box.height)
    left, right, top, bottom = box.x0 - dx, box.x1 - 1 + dx, box.y0 - dy, box.y1 - 1 + dy
    ring = []
    per_side = RING_POINTS // 4
    for k in range(per_side):
        t = (k + 0.5) / per_side
        x, y = left + t * (right - left), top + t * (bottom - top)
        ring += [(x, top), (right, y), (x, bottom), (left, y)]
    inside = [
        (round(x), round(y)) for x, y in ring if 0 <= round(x) < width and 0 <= round(y) < height
    ]
    middle = (box.x0 + box.x1 - 1) // 2, (box.y0 + box.y1 - 1) // 2
    return BoxPoints([middle] if CENTRE else [], list(dict.fromkeys(inside)))


def box_probability(box: Region, region: Region, size: int) -> NDArray[np.float32] | None:
    """The ellipse in a box over `region`, (size, size) float32."""
    if not PRIOR:
        return None
    x = region.x0 + (np.arange(size) + 0.5) * region.width / size
    y = region.y0 + (np.arange(size) + 0.5) * region.height / size
    u = (x - (box.x0 + box.x1) / 2) / (PRIOR_SIZE * box.width / 2)
    v = (y - (box.y0 + box.y1) / 2) / (PRIOR_SIZE * box.height / 2)
    inside = v[:, None] ** 2 + u[None, :] ** 2 <= 1
    return inside.astype(np.float32) * np.float32(PRIOR)
