"""Leaves out points of outlines so that none crosses or touches itself or another one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.kernels import kernel

MAX_SKIPPED = 512
"""Points between two that are kept, at most: it bounds the work per point."""

CELL = 16
"""Side, in pixels, of the cells that points are sorted into."""

ROUNDS = (0.25, 0.5, 1.0)
"""Shares of the tolerance: what matters least goes first."""


@kernel
def thin(
    points: NDArray[np.int32],
    starts: NDArray[np.int64],
    fixed: NDArray[np.bool_],
    tolerance: float,
    cells: NDArray[np.int64],
    columns: int,
    members: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> None:
    """Mark the points that stay.

    A point b between a and c is left out when every point of the outline from a to c lies within
    the tolerance of the segment a c, and no other point that is still there lies in the triangle
    a b c, its sides included. So no outline crosses or touches another one unless it did before.

    Args:
        points: (N, 2) int32, x and y of the points of all outlines, one outline after the other.
        starts: (R + 1,) int64, where each outline begins, the end included.
        fixed: (N,) bool, points that stay.
        tolerance: pixels.
        cells: (C + 1,) int64, where each cell's points begin in `members`; row by row.
        columns: cells in a row.
        members: (N,) int64, points by cell.
        kept: (N,) bool, out; all true at first.
    """
    before = np.empty(len(points), np.int64)
    after = np.empty(len(points), np.int64)
    for ring in range(len(starts) - 1):
        first, end = starts[ring], starts[ring + 1]
        for at in range(first, end):
            before[at] = at - 1 if at > first else end - 1
            after[at] = at + 1 if at + 1 < end else first
    for share in ROUNDS:
        for ring in range(len(starts) - 1):
            first, end = starts[ring], starts[ring + 1]
            left = 0
            for at in range(first, end):
                left += kept[at]
            for b in range(first, end):
                if left <= 3:
                    break
                if fixed[b] or not kept[b]:
                    continue
                a, c = before[b], after[b]
                if not _is_near(points, first, end, a, c, share * tolerance):
                    continue
                if _is_empty(points, cells, columns, members, kept, a, b, c):
                    kept[b] = False
                    after[a], before[c] = c, a
                    left -= 1


@kernel
def _is_near(
    points: NDArray[np.int32], first: int, end: int, a: int, c: int, tolerance: float
) -> bool:
    """Return whether all points of an outline from a to c lie near the segment a c."""
    xa, ya = float(points[a, 0]), float(points[a, 1])
    dx, dy = points[c, 0] - xa, points[c, 1] - ya
    length = dx * dx + dy * dy
    at, passed = a, 0
    while True:
        at = at + 1 if at + 1 < end else first
        if at == c:
            return True
        passed += 1
        if passed > MAX_SKIPPED:
            return False
        x, y = points[at, 0] - xa, points[at, 1] - ya
        t = min(max((x * dx + y * dy) / length, 0.0), 1.0) if length > 0 else 0.0
        x -= t * dx
        y -= t * dy
        if x * x + y * y > tolerance * tolerance:
            return False


@kernel
def _is_empty(
    points: NDArray[np.int32],
    cells: NDArray[np.int64],
    columns: int,
    members: NDArray[np.int64],
    kept: NDArray[np.bool_],
    a: int,
    b: int,
    c: int,
) -> bool:
    """Return whether no other point that is kept lies in the triangle a b c or on its sides."""
    xs = (int(points[a, 0]), int(points[b, 0]), int(points[c, 0]))
    ys = (int(points[a, 1]), int(points[b, 1]), int(points[c, 1]))
    turn = _side(xs[0], ys[0], xs[1], ys[1], xs[2], ys[2])
    if turn == 0:  # b lies on the segment a c
        return True
    for row in range(min(ys) // CELL, max(ys) // CELL + 1):
        low, high = _span(xs, ys, row * CELL, row * CELL + CELL - 1)
        for cell in range(row * columns + low // CELL, row * columns + high // CELL + 1):
            for k in range(cells[cell], cells[cell + 1]):
                at = members[k]
                if not kept[at] or at in (a, b, c):
                    continue
                x, y = int(points[at, 0]), int(points[at, 1])
                s0 = _side(xs[0], ys[0], xs[1], ys[1], x, y)
                s1 = _side(xs[1], ys[1], xs[2], ys[2], x, y)
                s2 = _side(xs[2], ys[2], xs[0], ys[0], x, y)
                if turn > 0 and s0 >= 0 and s1 >= 0 and s2 >= 0:
                    return False
                if turn < 0 and s0 <= 0 and s1 <= 0 and s2 <= 0:
                    return False
    return True


@kernel
def _side(xa: int, ya: int, xb: int, yb: int, x: int, y: int) -> int:
    """Positive, zero or negative: on which side of the line from a to b a point lies."""
    return (xb - xa) * (y - ya) - (yb - ya) * (x - xa)


@kernel
def _span(
    xs: tuple[int, int, int], ys: tuple[int, int, int], top: int, bottom: int
) -> tuple[int, int]:
    """Columns that a triangle takes in the rows from top to bottom, rounded outwards."""
    low, high = max(xs), min(xs)
    for k in range(3):
        xa, ya, xb, yb = xs[k], ys[k], xs[(k + 1) % 3], ys[(k + 1) % 3]
        if ya > yb:
            xa, ya, xb, yb = xb, yb, xa, ya
        if yb < top or ya > bottom:
            continue
        for y in (max(ya, top), min(yb, bottom)):
            if ya == yb:
                low, high = min(low, xa, xb), max(high, xa, xb)
            else:
                x = xa + (xb - xa) * (y - ya) / (yb - ya)
                low, high = min(low, int(np.floor(x))), max(high, int(np.ceil(x)))
    return low, high
