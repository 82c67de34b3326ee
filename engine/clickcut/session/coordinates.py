"""Check coordinates and convert them to pixels of the image."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike

from clickcut.clicks import Point
from clickcut.errors import EventError
from clickcut.region import Region

RETRACED = 4
"""Maximum length of a stroke, as a multiple of its maximum number of pixels."""


def to_pixel(x: float, y: float, width: int, height: int) -> Point:
    """Return the image pixel (x, y) that contains a position.

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
    """Return the image pixels whose centres lie in a box.

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
            f"the box {given} extends beyond the image, which has x in 0..{width - 1} and y in "
            f"0..{height - 1}; clip it"
        )
    left, top, right, bottom = math.ceil(x0), math.ceil(y0), math.floor(x1), math.floor(y1)
    # The outermost edges round to just outside.
    box = Region(max(0, left), max(0, top), min(width, right + 1), min(height, bottom + 1))
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise EventError(f"the box {given} contains no pixel centre; draw a larger one")
    return box


def stroke_pixels(points: ArrayLike, width: int, height: int, limit: int) -> tuple[Point, ...]:
    """Return the pixels (x, y) on a polyline, in order, each once.

    Args:
        points: (N, 2), x and y of the corners, N >= 1.
        width: of the image, pixels.
        height: of the image, pixels.
        limit: maximum number of pixels to return. The line may be `RETRACED` times as
            long, since it may pass a pixel again.

    Raises:
        EventError: another shape, a corner outside the image, or a longer line.
    """
    try:
        given = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise EventError(f"a stroke is an (N, 2) array of x, y: {error}") from error
    if given.ndim != 2 or given.shape[1] != 2 or len(given) == 0:
        raise EventError(f"a stroke is an (N, 2) array of x, y with N >= 1, got {given.shape}")
    if len(given) > limit:
        raise EventError(f"a stroke has at most {limit} points, got {len(given)}")
    corners = [to_pixel(x, y, width, height) for x, y in given.tolist()]
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
