"""The object that is being selected on a plane, and what a person did to its clicks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import methodcaller

from clickcut.clicks import PlacedClick
from clickcut.client import Session
from clickcut.region import Region
from clickcut.selection import Selection
from clickcut_napari.layers import PlaneClick
from clickcut_napari.plane import Plane

Event = Callable[[Session], object]
"""Gets a session and applies an event to it."""


@dataclass(slots=True)
class PlaneObject:
    """The object that is being selected on a plane.

    Attributes:
        plane: it is on.
        label: its number.
        base: pixels that had this label before.
        clicks: in force.
        waiting: clicks that are not answered yet.
        box: of what is painted.
        can_undo: whether there is something to undo.
        can_redo: whether there is something to redo.
    """

    plane: Plane
    label: int
    base: Selection
    clicks: tuple[PlacedClick, ...] = ()
    waiting: list[PlaneClick] = field(default_factory=list)
    box: Region | None = None
    can_undo: bool = False
    can_redo: bool = False

    @property
    def shown(self) -> list[PlaneClick]:
        """The clicks to show: those in force and those that are not answered yet."""
        return [(c.x, c.y, c.positive) for c in self.clicks] + self.waiting


def events_between(before: list[PlaneClick], now: list[PlaneClick]) -> list[Event]:
    """Return the events that lead from some clicks to others: as many, moved, or fewer.

    Args:
        before: of the session.
        now: as a person has moved or removed them.
    """
    if len(now) == len(before):
        pairs = enumerate(zip(before, now, strict=True))
        return [
            methodcaller("move_click", index, new[0], new[1])
            for index, (old, new) in pairs
            if old != new
        ]
    return [methodcaller("remove_click", index) for index in reversed(_missing(before, now))]


def _missing(before: list[PlaneClick], now: list[PlaneClick]) -> list[int]:
    """Return the indices of the clicks that are not there any more."""
    left = list(now)
    gone = []
    for index, click in enumerate(before):
        if left and left[0] == click:
            left.pop(0)
        else:
            gone.append(index)
    return gone
