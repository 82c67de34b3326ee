"""Events: what a client did to the current object. A session is its image plus its events."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError
from clickcut.maps import Point
from clickcut.parameters import Parameters

RETRACED = 4
"""How often a stroke may pass each of its pixels, in the mean of the longest one that is taken."""


@dataclass(frozen=True, slots=True)
class Click:
    """A click, or a stroke when it has several points.

    Attributes:
        points: (x, y) pixels of the image, in the order made.
        positive: object, else background.
    """

    points: tuple[Point, ...]
    positive: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """Everything before it is taken away."""


@dataclass(frozen=True, slots=True, eq=False)
class InitialMask:
    """Start from an existing mask; everything before it is taken away.

    Attributes:
        packed: bits of the (H, W) mask, row by row.
    """

    packed: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SetParameters:
    """The parameters from here on. Not taken back by undo."""

    parameters: Parameters


Event = Click | Reset | InitialMask | SetParameters


def clicks_in_force(events: Sequence[Event]) -> list[Click]:
    """The clicks after the last reset or initial mask."""
    kept: list[Click] = []
    for event in events:
        if isinstance(event, Click):
            kept.append(event)
        elif isinstance(event, Reset | InitialMask):
            kept.clear()
    return kept


def points_in_force(events: Sequence[Event]) -> dict[Point, bool]:
    """Clicked pixel -> positive, in the order made; the last click on a pixel decides."""
    signs: dict[Point, bool] = {}
    for click in clicks_in_force(events):
        for point in click.points:
            signs.pop(point, None)
            signs[point] = click.positive
    return signs


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
