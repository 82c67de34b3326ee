"""Convert a mask to polygons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.checks import number_of
from clickcut.errors import EventError
from clickcut.polygons.joined import joined_polygons
from clickcut.polygons.polygon import Polygon
from clickcut.polygons.valid import valid_polygons

MAX_TOLERANCE = 10_000
"""Largest tolerance of polygons, pixels; beyond it every outline is a point."""


def tolerance_of(value: object) -> float:
    """Return a tolerance of polygons from a user.

    Raises:
        EventError: not a number from 0 to `MAX_TOLERANCE`.
    """
    tolerance = number_of(value, "the polygon tolerance")
    if not 0 <= tolerance <= MAX_TOLERANCE:
        raise EventError(
            f"the polygon tolerance must be 0 to {MAX_TOLERANCE} pixels, got {tolerance:g}"
        )
    return tolerance


def to_polygons(
    mask: NDArray[np.bool_],
    tolerance: float = 0.0,
    x0: int = 0,
    y0: int = 0,
    valid: bool = False,
) -> list[Polygon]:
    """Return the outlines of a mask.

    With tolerance 0 a pixel is selected exactly when its centre lies inside an odd number of the
    polygons. Pixels that touch at a corner are joined.

    Args:
        mask: (h, w) bool; the bounding box of the selection is enough.
        tolerance: maximum distance in pixels from the exact outline (Douglas-Peucker).
        x0: image column of the mask's first column.
        y0: image row of the mask's first row.
        valid: make polygons that are valid in the sense of OGC simple features: pixels that touch
            at a corner are not joined, no outline crosses or touches itself at any tolerance, two
            outlines meet in single corners at most, and each hole names its outline.

    Returns:
        From top to bottom. An outline that keeps fewer than three points at this tolerance is left
        out, except the one with the largest area; of valid ones, each with a diagonal of the
        tolerance or less, and an outline is followed by its holes.

    Raises:
        EventError: more than `MAX_CORNERS` corners, or more than `MAX_OUTLINES` outlines that are
            larger than the tolerance; found before they are traced or simplified.
    """
    convert = valid_polygons if valid else joined_polygons
    return convert(mask, tolerance, x0, y0)
