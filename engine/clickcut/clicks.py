"""The click in the list of a session, and the type of a pixel. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import SupportsIndex

from clickcut.errors import EventError

Point = tuple[int, int]
"""(x, y), an integer pixel."""


@dataclass(frozen=True, slots=True)
class PlacedClick:
    """A click or stroke in force, as `clicks` of a session lists it.

    Attributes:
        x: column of the clicked pixel, of a stroke's first one.
        y: its row.
        positive: object, else background.
        num_points: pixels clicked; more than 1 for a stroke.
    """

    x: int
    y: int
    positive: bool
    num_points: int = 1


def checked_index(index: SupportsIndex, what: str) -> int:
    """Return an index given by a user as an int.

    Args:
        index: as given.
        what: name of the indexed item, for the message.

    Raises:
        EventError: not an integer, or below 0.
    """
    if isinstance(index, bool) or not hasattr(index, "__index__") or index.__index__() < 0:
        raise EventError(f"the index of {what} must be a non-negative integer, got {index!r}")
    return index.__index__()
