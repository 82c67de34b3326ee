"""A polygon, and how many of them a mask may have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError
from clickcut.polygons.outlines import Rings

MAX_OUTLINES = 10_000
"""Maximum number of outlines returned for a mask."""


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """A closed outline along the edges between pixels.

    Attributes:
        points: (N, 2) float32, x and y in image pixels, at half integers when exact; the last joins
            the first. Clockwise as displayed, a hole counter-clockwise.
        hole: whether it lies inside another outline and cuts a hole.
        parent: of a hole of valid polygons: the index of the outline that it lies in; else -1.
    """

    points: NDArray[np.float32]
    hole: bool
    parent: int = -1


def check_outlines(rings: Rings, large: NDArray[np.bool_], tolerance: float) -> None:
    """Check the number of outlines.

    Args:
        rings: all of a mask.
        large: (R,) bool, which of them are to be given.
        tolerance: at which the others are left out.

    Raises:
        EventError: more than `MAX_OUTLINES`; says what to do.
    """
    if np.count_nonzero(large) <= MAX_OUTLINES:
        return
    enough = float(np.sort(rings.diagonals)[-MAX_OUTLINES - 1])
    raise EventError(
        f"the mask has more than {MAX_OUTLINES:,} outlines at a polygon tolerance of "
        f"{tolerance:g}: use a tolerance of at least {np.ceil(enough):g} pixels, which leaves out "
        "the small ones, or remove specks and holes from the mask first"
    )
