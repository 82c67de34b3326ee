"""The points of a request, checked and converted to pixels.

CVAT counts coordinates from the corner of the image: (0, 0) is the top left corner of the top left
pixel, whose centre is (0.5, 0.5). This follows from its source (cvat-ai/cvat):

- `cvat-canvas/src/typescript/canvasView.ts`, `moveCanvas`: the element with the image is placed at
  `geometry.left`, the SVG with the shapes at `geometry.left - geometry.offset`, both with the same
  scale, so SVG position `offset` is the image's left edge.
- `cvat-canvas/src/typescript/interactionHandler.ts`, `prepareResult`: a point is its position in
  the SVG less `geometry.offset`; nothing is rounded and no half pixel is taken off.
- ..., `isWithinFrame`: the rounded point must lie in 0 .. width - 1, so points up to half a pixel
  outside the image are sent as well.
- ..., `updateIntermediateShape`: a mask's bitmap is drawn with its corner at (left, top), so entry
  [y, x] of a mask is the pixel [y, x] of the image, as here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from clickcut.checks import number_of, shown
from clickcut.errors import EventError, LimitError

MAX_POINTS = 500
"""Maximum number of points of a request; each costs a prediction when a session is rebuilt."""

MARGIN = 0.5
"""Pixels outside the image at which CVAT still accepts a point."""

Click = tuple[int, int, bool]
"""x and y of a pixel, and whether it is on the object."""

_Position = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Points of a request, in CVAT's coordinates.

    Attributes:
        positive: (x, y) on the object.
        negative: (x, y) on the background.
    """

    positive: tuple[_Position, ...]
    negative: tuple[_Position, ...]

    @staticmethod
    def of(positive: object, negative: object) -> Prompts:
        """Check the points of a request.

        Args:
            positive: list of [x, y].
            negative: list of [x, y]; None for none.

        Raises:
            EventError: not such lists, not finite numbers, or no positive point.
            LimitError: more than `MAX_POINTS`.
        """
        found = Prompts(
            _positions(positive, "pos_points"),
            _positions(negative if negative is not None else (), "neg_points"),
        )
        if not found.positive:
            raise EventError("there is no positive point; click on the object first")
        number = len(found.positive) + len(found.negative)
        if number > MAX_POINTS:
            raise LimitError(f"a request has at most {MAX_POINTS} points, got {number}")
        return found

    def clicks(self, width: int, height: int) -> list[Click]:
        """Convert the points to pixels of an image; positive ones come first.

        Args:
            width: of the image.
            height: of the image.

        Raises:
            EventError: a point is outside the image.
        """
        return [
            (*_pixel(x, y, width, height), sign)
            for points, sign in ((self.positive, True), (self.negative, False))
            for x, y in points
        ]


def _positions(points: object, name: str) -> tuple[_Position, ...]:
    if not _is_list(points):
        raise EventError(f"{name} must be a list of [x, y], got {shown(points)}")
    found = []
    for number, point in enumerate(points):
        if not _is_list(point) or len(point) != 2:
            raise EventError(f"{name}[{number}] must be [x, y], got {shown(point)}")
        x, y = (number_of(value, f"{name}[{number}]") for value in point)
        found.append((x, y))
    return tuple(found)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _pixel(x: float, y: float, width: int, height: int) -> tuple[int, int]:
    if not (-MARGIN <= x <= width + MARGIN and -MARGIN <= y <= height + MARGIN):
        raise EventError(
            f"the point ({x:g}, {y:g}) is outside the image of {width} x {height} pixels"
        )
    return _clamped(math.floor(x), width), _clamped(math.floor(y), height)


def _clamped(index: int, size: int) -> int:
    return min(max(index, 0), size - 1)
