"""Trace the outlines of a mask along the edges between pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError

MAX_CORNERS = 1_000_000
"""Maximum number of corners of all outlines of a mask, before they are simplified."""

# Pixels around a corner: 1 top left, 2 top right, 4 bottom left, 8 bottom right.
_BOTTOM_LEFT, _BOTTOM_RIGHT = 4, 8
_FALLING, _RISING = 1 | 8, 2 | 4
"""Two selected pixels that touch at a corner only: the outline passes it twice."""

_PASSES = np.zeros(256, np.uint8)
"""How often an outline turns at a corner, by the pixels around it."""
_PASSES[[1, 2, 4, 8, 7, 11, 13, 14]] = 1
_PASSES[[_FALLING, _RISING]] = 2


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """Closed outlines, one after the other, in the order of their first corners.

    Attributes:
        points: (N, 2) int32, x and y of the corners of all rings.
        starts: (R + 1,) where each ring begins; the last is N.
        holes: (R,) bool.
    """

    points: NDArray[np.int32]
    starts: NDArray[np.intp]
    holes: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Number of rings."""
        return self.holes.size

    @property
    def diagonals(self) -> NDArray[np.float64]:
        """(R,) float64, diagonal of each ring's bounding box, pixels."""
        sides = [op.reduceat(self.points, self.starts[:-1]) for op in (np.maximum, np.minimum)]
        return np.asarray(np.hypot(*(sides[0] - sides[1]).T.astype(np.float64)), np.float64)

    @property
    def areas(self) -> NDArray[np.float64]:
        """(R,) float64, signed area of each ring, pixels."""
        following = np.arange(1, len(self.points) + 1)
        following[self.starts[1:] - 1] = self.starts[:-1]
        x, y = self.points.T.astype(np.float64)
        cross = x * y[following] - x[following] * y
        return np.asarray(np.add.reduceat(cross, self.starts[:-1]) / 2, np.float64)

    def points_of(self, ring: int) -> NDArray[np.float32]:
        """(N, 2) float32, the corners of one ring."""
        return self.points[self.starts[ring] : self.starts[ring + 1]].astype(np.float32)

    def hole(self, ring: int) -> bool:
        """Return whether one ring is a hole."""
        return bool(self.holes[ring])


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """Where the outlines of a mask turn, in the grid of corners between pixels, row by row.

    Attributes:
        x: (N,) columns; a corner that is passed twice counts twice.
        y: (N,) rows.
        kinds: (N,) uint8, which of the four pixels around are selected.
    """

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    kinds: NDArray[np.uint8]

    @staticmethod
    def of(mask: NDArray[np.bool_]) -> Corners:
        """Return the corners of a mask (h, w) bool.

        Raises:
            EventError: more than `MAX_CORNERS`.
        """
        padded = np.pad(mask, 1).view(np.uint8)
        around = (
            padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
        )
        passes = np.asarray(cv2.LUT(around, _PASSES), np.uint8).ravel()
        number = int(passes.sum(dtype=np.int64))
        if number > MAX_CORNERS:
            raise EventError(
                f"the outlines of the mask have {number:,} corners; at most {MAX_CORNERS:,} are "
                "traced: remove specks and holes from the mask first, whatever the tolerance"
            )
        corners = np.flatnonzero(passes)
        corners = np.repeat(corners, passes[corners])
        y, x = np.divmod(corners, around.shape[1])
        return Corners(x, y, np.asarray(around.ravel()[corners], np.uint8))

    @property
    def is_double(self) -> NDArray[np.bool_]:
        """(N,) bool, whether an outline passes the corner twice."""
        return np.isin(self.kinds, (_FALLING, _RISING))

    def rings(self, joined: bool = True) -> tuple[Rings, NDArray[np.intp]]:
        """Return the outlines through the corners, and (N,) which corner each of their points is.

        Args:
            joined: whether pixels that touch at a corner belong together.
        """
        order, starts = _cycles(self._following(joined).tolist())
        points = np.stack((self.x, self.y), axis=1).astype(np.int32)[order]
        # The first corner of a ring is its top left one: the object is inside or outside of it.
        holes = (self.kinds[order[starts[:-1]]] & _BOTTOM_RIGHT) == 0
        return Rings(points, starts, holes), order

    def _following(self, joined: bool) -> NDArray[np.intp]:
        """Return the corner after each.

        Along a line of the grid the turns of all outlines pair up in order: an edge lies between
        the first and the second, and so on. Linking the ends of all edges gives rings.
        """
        x, y, kinds = self.x, self.y, self.kinds
        again = np.zeros(x.size, np.bool_)
        again[1:] = (x[1:] == x[:-1]) & (y[1:] == y[:-1])

        # Of a corner that is passed twice, the first pass ends the edge from the left and the
        # second starts the edge to the right. For the pixels to be joined there, a falling pair
        # needs the edge from the left to meet the one downwards, a rising pair the one from above;
        # the other way round for them to be apart.
        starts_down = np.where(kinds == (_FALLING if joined else _RISING), ~again, again)
        horizontal = np.arange(x.size).reshape(-1, 2)
        vertical = np.lexsort((starts_down, y, x)).reshape(-1, 2)

        # Clockwise: right with the object below, down with the object to the left.
        following = np.empty(x.size, np.intp)
        for edges, bit in ((horizontal, _BOTTOM_RIGHT), (vertical, _BOTTOM_LEFT)):
            forward = (kinds[edges[:, 0]] & bit) != 0
            source = np.where(forward, edges[:, 0], edges[:, 1])
            following[source] = np.where(forward, edges[:, 1], edges[:, 0])
        return following


def _cycles(following: list[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the cycles of a permutation, each from its least element on, in their order.

    Returns:
        Their elements one after the other, and where each cycle begins, the end included.
    """
    seen = bytearray(len(following))
    order: list[int] = []
    starts: list[int] = []
    first = seen.find(0)
    while first >= 0:
        starts.append(len(order))
        at = first
        while not seen[at]:
            seen[at] = 1
            order.append(at)
            at = following[at]
        first = seen.find(0, first)
    starts.append(len(order))
    return np.array(order, np.intp), np.array(starts, np.intp)
