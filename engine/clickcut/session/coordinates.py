"""Coordinates from outside -> pixels of the image, checked."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import Point
from clickcut.errors import EventError
from clickcut.region import Region

RETRACED = 4
"""How often a stroke may pass each of its pixels, in the mean of the longest one that is taken."""


def to_pixel(x: float, y: float, width: int, height: int) -> Point:
    """The image pixel that holds a position.

    Raises:
        EventError: not finite, or outside the image.
    """
    if not (math.isfinite(x) and math.isfinite(y)):
        raise EventError(f"a click must have finite coordinates, got ({x}, {y})")
    if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
        raise EventError(
            f"the click ({x:g}, {y:g}) is outside the image, which has x in 0..{width - 1} "
            f"and y in 0..{height - 1}"
        )
    return math.floor(x + 0.5), math.floor(y + 0.5)


def to_box(x0: float, y0: float, x1: float, y1: float, width: int, height: int) -> Region:
    """The image pixels whose centres lie in a box.

    Args:
        x0: its left edge.
        y0: its upper edge.
        x1: its right edge.
        y1: its lower edge.
        width: of the image, pixels.
        height: of the image, pixels.

    Raises:
        EventError: an edge is not finite or outside the image, or there are no such pixels.
    """
    given = f"({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise EventError(f"a box must have finite coordinates, got {given}")
    if x0 > x1 or y0 > y1:
        raise EventError(f"a box is x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, got {given}")
    if min(x0, y0) < -0.5 or x1 > width - 0.5 or y1 > height - 0.5:
        raise EventError(
            f"the box {given} reaches beyond the image, which has x in 0..{width - 1} and y in "
            f"0..{height - 1}; clip it"
        )
    left, top, right, bottom = math.ceil(x0), math.ceil(y0), math.floor(x1), math.floor(y1)
    # The outermost edges round to just outside.
    box = Region(max(0, left), max(0, top), min(width, right + 1), min(height, bottom + 1))
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise EventError(f"the box {given} holds the centre of no pixel; draw a larger one")
    return box


def stroke_pixels(
    points: NDArray[np.float64], width: int, height: int, limit: int
) -> tuple[Point, ...]:
    """The pixels on a polyline, in order, each once.

    Args:
        points: (N, 2) float64, x and y of the corners, N >= 1.
        width: of the image, pixels.
        height: of the image, pixels.
        limit: pixels to return at most. The line may be `RETRACED` times as long, since it may pass
            a pixel again.

    Raises:
        EventError: another shape, a corner outside the image, or a longer line.
    """
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise EventError(f"a stroke is an (N, 2) array of x, y with N >= 1, got {points.shape}")
    if len(points) > limit:
        raise EventError(f"a stroke has at most {limit} points, got {len(points)}")
    corners = [to_pixel(x, y, width, height) for x, y in points.tolist()]
    pixels = dict.fromkeys(corners[:1])
    walked = 0
    for (xa, ya), (xb, yb) in itertools.pairwise(corners):
        steps = max(abs(xb - xa), abs(yb - ya))
        walked += steps
        if walked > RETRACED * limit:
            raise EventError(
                f"the stroke is longer than {RETRACED * limit} pixels; split it into shorter ones"
            )
        for k in range(1, steps + 1):
            # Integer arithmetic: the same pixels on every machine.
            x = xa + (2 * k * (xb - xa) + steps) // (2 * steps)
            y = ya + (2 * k * (yb - ya) + steps) // (2 * steps)
            pixels[x, y] = None
    if len(pixels) > limit:
        raise EventError(f"the stroke covers more than {limit} pixels; split it into shorter ones")
    return tuple(pixels)
