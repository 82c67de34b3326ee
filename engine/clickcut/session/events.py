"""Events: what a client did to the current object. A session is its image plus its events."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import PlacedClick, Point
from clickcut.errors import EventError
from clickcut.parameters import Parameters
from clickcut.region import Region
from clickcut.selection import EMPTY, Selection

RETRACED = 4
"""How often a stroke may pass each of its pixels, in the mean of the longest one that is taken."""

_OBJECT_BYTES = 100
"""About what a small Python object takes."""


@dataclass(frozen=True, slots=True)
class Click:
    """A click, or a stroke when it has several points.

    Attributes:
        packed: (N, 2) int32 in bytes: x, y of the clicked pixels, in the order made. Tuples of
            integers would take fifteen times the memory.
        positive: object, else background.
    """

    packed: bytes
    positive: bool

    @staticmethod
    def of(points: Iterable[Point], positive: bool) -> Click:
        """The click on pixels (x, y)."""
        return Click(np.array(list(points), np.int32).tobytes(), positive)

    @property
    def points(self) -> list[Point]:
        """The clicked pixels, (x, y), in the order made."""
        pairs = np.frombuffer(self.packed, np.int32).reshape(-1, 2)
        return [(x, y) for x, y in pairs.tolist()]

    @property
    def num_points(self) -> int:
        """How many pixels are clicked."""
        return len(self.packed) // 8

    @property
    def placed(self) -> PlacedClick:
        """The click as sessions list it."""
        x, y = np.frombuffer(self.packed, np.int32, 2).tolist()
        return PlacedClick(x, y, self.positive, self.num_points)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.packed) + _OBJECT_BYTES


@dataclass(frozen=True, slots=True)
class MoveClick:
    """A click in force is made at another pixel instead.

    Attributes:
        index: among the clicks in force, in the order made.
        point: where it is now.
    """

    index: int
    point: Point

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _OBJECT_BYTES


@dataclass(frozen=True, slots=True)
class RemoveClick:
    """A click or stroke in force is taken away.

    Attributes:
        index: among the clicks in force, in the order made.
    """

    index: int

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _OBJECT_BYTES


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """The object lies in a box; it counts as drawn before all clicks. The latest one is in force.

    Attributes:
        box: pixels of the image.
    """

    box: Region

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 2 * _OBJECT_BYTES


@dataclass(frozen=True, slots=True)
class Reset:
    """Everything before it is taken away."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _OBJECT_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class InitialMask:
    """Start from an existing mask; everything before it is taken away.

    Attributes:
        packed: bits of the (H, W) mask, row by row.
    """

    packed: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.packed.nbytes + _OBJECT_BYTES


@dataclass(frozen=True, slots=True)
class SetParameters:
    """The parameters from here on. Not taken back by undo."""

    parameters: Parameters

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 2 * _OBJECT_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Exclude:
    """Which pixels the object never takes, from here on. Not taken back by undo or reset.

    Attributes:
        pixels: of other objects.
    """

    pixels: Selection

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.pixels.nbytes + _OBJECT_BYTES


Event = Click | MoveClick | RemoveClick | BoxPrompt | Reset | InitialMask | SetParameters | Exclude


@dataclass(frozen=True, slots=True)
class Prompts:
    """What events leave in force: all that the present mask follows from, but for parameters.

    Attributes:
        start: the mask that the object started from, or None.
        box: that the object lies in, or None.
        clicks: after mask and box, in the order made; moved ones where they are now.
        excluded: pixels that the object never takes.
    """

    start: InitialMask | None = None
    box: Region | None = None
    clicks: tuple[Click, ...] = ()
    excluded: Selection = EMPTY

    @staticmethod
    def of(events: Iterable[Event]) -> Prompts:
        """What is in force after events.

        Raises:
            EventError: see `PromptsBuilder.add`.
        """
        builder = PromptsBuilder()
        for event in events:
            builder.add(event)
        return Prompts(builder.start, builder.box, tuple(builder.clicks), builder.excluded)

    @property
    def points(self) -> dict[Point, bool]:
        """Clicked pixel -> positive, in the order made; the last click on a pixel decides."""
        signs: dict[Point, bool] = {}
        for click in self.clicks:
            for point in click.points:
                signs.pop(point, None)
                signs[point] = click.positive
        return signs


class PromptsBuilder:
    """Prompts while events are added one by one; the attributes are those of `Prompts`."""

    def __init__(self) -> None:
        self.start: InitialMask | None = None
        self.box: Region | None = None
        self.clicks: list[Click] = []
        self.excluded = EMPTY

    def add(self, event: Event) -> None:
        """Bring the prompts in line with one more event.

        Raises:
            EventError: it moves or removes a click that there is not, or moves a stroke.
        """
        if isinstance(event, Click):
            self.clicks.append(event)
        elif isinstance(event, MoveClick):
            moved = self._click(event.index)
            if moved.num_points > 1:
                raise EventError(
                    f"click {event.index} is a stroke, which cannot be moved; remove it and draw "
                    "another one"
                )
            self.clicks[event.index] = Click.of([event.point], moved.positive)
        elif isinstance(event, RemoveClick):
            self._click(event.index)
            del self.clicks[event.index]
        elif isinstance(event, BoxPrompt):
            self.box = event.box
        elif isinstance(event, Exclude):
            self.excluded = event.pixels
        elif isinstance(event, Reset | InitialMask):
            self.clicks.clear()
            self.box = None
            self.start = event if isinstance(event, InitialMask) else None

    def _click(self, index: int) -> Click:
        if 0 <= index < len(self.clicks):
            return self.clicks[index]
        count = len(self.clicks)
        there = f"it has clicks 0 to {count - 1}" if count else "it has no clicks"
        raise EventError(f"the object has no click {index}: {there}")


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
