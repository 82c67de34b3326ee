"""Events: the actions of a user on the current object. A session is its image plus its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import PlacedClick, Point
from clickcut.errors import EventError
from clickcut.parameters import Parameters
from clickcut.region import Region
from clickcut.selection import EMPTY, Selection

_OBJECT_BYTES = 100
"""Approximate size of a small Python object."""


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
        """Return the click on pixels (x, y)."""
        return Click(np.array(list(points), np.int32).tobytes(), positive)

    @property
    def points(self) -> list[Point]:
        """The clicked pixels, (x, y), in the order made."""
        pairs = np.frombuffer(self.packed, np.int32).reshape(-1, 2)
        return [(x, y) for x, y in pairs.tolist()]

    @property
    def num_points(self) -> int:
        """Number of clicked pixels."""
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
    """Move a click in force to another pixel.

    Attributes:
        index: among the clicks in force, in the order made.
        point: its new pixel, (x, y).
    """

    index: int
    point: Point

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _OBJECT_BYTES


@dataclass(frozen=True, slots=True)
class RemoveClick:
    """Remove a click or stroke in force.

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
    """Set the box around the object, as if drawn before all clicks. The last one is in force.

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
    """Remove everything before it."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _OBJECT_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class InitialMask:
    """Start from an initial mask; remove everything before it.

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
    """Set the parameters from here on. Not undone by undo."""

    parameters: Parameters

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 2 * _OBJECT_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Exclude:
    """Set the pixels that the object never takes, from here on. Not undone by undo or reset.

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
    """The prompts in force after events; with the parameters they determine the mask.

    Attributes:
        start: initial mask, or None.
        box: around the object, or None.
        clicks: after mask and box, in the order made; moved ones where they are now.
        excluded: pixels that the object never takes.
    """

    start: InitialMask | None = None
    box: Region | None = None
    clicks: tuple[Click, ...] = ()
    excluded: Selection = EMPTY

    @staticmethod
    def of(events: Iterable[Event]) -> Prompts:
        """Return the prompts in force after events.

        Raises:
            EventError: see `PromptsBuilder.add`.
        """
        builder = PromptsBuilder()
        for event in events:
            builder.add(event)
        return Prompts(builder.start, builder.box, tuple(builder.clicks), builder.excluded)

    @property
    def points(self) -> dict[Point, bool]:
        """Clicked pixel -> positive, in the order made; the last click on a pixel counts."""
        signs: dict[Point, bool] = {}
        for click in self.clicks:
            for point in click.points:
                signs.pop(point, None)
                signs[point] = click.positive
        return signs

    def check_excluded(self, event: Event) -> None:
        """Check that a new event has no positive click on an excluded pixel.

        Raises:
            EventError: it has.
        """
        if self.excluded.box is None:
            return
        points: list[Point] = []
        if isinstance(event, Click) and event.positive:
            points = event.points
        elif isinstance(event, MoveClick) and event.index < len(self.clicks):
            points = [event.point] if self.clicks[event.index].positive else []
        if points and all(self.excluded.contains(*point) for point in points):
            raise EventError(
                "the click lies on another object, whose pixels are excluded: click elsewhere, or "
                "edit that object first"
            )


class PromptsBuilder:
    """Prompts while events are added one by one; the attributes are those of `Prompts`."""

    def __init__(self) -> None:
        self.start: InitialMask | None = None
        self.box: Region | None = None
        self.clicks: list[Click] = []
        self.excluded = EMPTY

    def add(self, event: Event) -> None:
        """Update the prompts with one more event.

        Raises:
            EventError: it moves or removes a click that does not exist, or moves a stroke.
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
