"""Masks -> polygons that are valid in the sense of OGC simple features, at every tolerance.

The parts of a mask that are connected along edges become one outline each, with their holes. An
outline that passes a corner twice is split there, so that no outline touches itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.polygons.outlines import Corners, Rings
from clickcut.polygons.polygon import Polygon, check_outlines


@dataclass(frozen=True, slots=True, eq=False)
class _Loops:
    """Outlines that do not touch themselves.

    Attributes:
        rings: clockwise around an object, counter-clockwise around a hole.
        labels: (R,) which connected part of the mask each belongs to.
        touching: (N,) bool, corners that another pass of an outline touches.
    """

    rings: Rings
    labels: NDArray[Any]
    touching: NDArray[np.bool_]


def valid_polygons(mask: NDArray[np.bool_], tolerance: float, x0: int, y0: int) -> list[Polygon]:
    """See `clickcut.polygons.to_polygons`, with `valid`."""
    loops = _loops(mask)
    if not loops.rings.count:
        return []
    large = loops.rings.diagonals > tolerance
    if tolerance <= 0:
        large[:] = True
    check_outlines(loops.rings, large, tolerance)
    if not large.any():
        large[np.argmax(loops.rings.areas)] = True
        tolerance = 0.0
    kept = _chosen(loops, large)
    rings = kept.rings if tolerance <= 0 else _thinned(kept, tolerance)
    return _polygons(rings, kept.labels, np.array((x0 - 0.5, y0 - 0.5), np.float32))


def _loops(mask: NDArray[np.bool_]) -> _Loops:
    corners = Corners.of(mask)
    rings, order = corners.rings(joined=False)
    double = corners.is_double[order]
    _, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    points: list[NDArray[np.int32]] = []
    touching: list[NDArray[np.bool_]] = []
    labels: list[int] = []
    for ring in range(rings.count):
        span = slice(rings.starts[ring], rings.starts[ring + 1])
        x, y = rings.points[rings.starts[ring]].tolist()
        label = int(parts[y - 1, x] if rings.hole(ring) else parts[y, x])
        loops = [np.arange(span.start, span.stop)]
        if double[span].any():
            loops = _split(rings.points[span].tolist(), span.start)
        for loop in loops:
            points.append(rings.points[loop])
            touching.append(double[loop])
            labels.append(label)
    if not points:
        return _Loops(rings, np.zeros(0, np.int64), np.zeros(0, np.bool_))
    starts = np.cumsum([0, *(len(p) for p in points)])
    split = Rings(np.concatenate(points), starts, np.zeros(len(points), np.bool_))
    split = Rings(split.points, split.starts, split.areas < 0)
    return _Loops(split, np.array(labels), np.concatenate(touching))


def _split(ring: list[list[int]], first: int) -> list[NDArray[np.int64]]:
    """Cut a ring at every corner that it passes again; indices of the loops, from `first` on."""
    loops: list[NDArray[np.int64]] = []
    stack: list[int] = []
    places: dict[tuple[int, int], int] = {}
    for at, (x, y) in enumerate(ring):
        place = places.get((x, y))
        if place is not None:
            loops.append(np.array(stack[place:]) + first)
            for passed in stack[place + 1 :]:
                del places[ring[passed][0], ring[passed][1]]
            del stack[place + 1 :]
        else:
            places[x, y] = len(stack)
            stack.append(at)
    loops.append(np.array(stack) + first)
    return loops


def _chosen(loops: _Loops, chosen: NDArray[np.bool_]) -> _Loops:
    sizes = np.diff(loops.rings.starts)
    points = np.repeat(chosen, sizes)
    starts = np.concatenate(([0], np.cumsum(sizes[chosen])))
    rings = Rings(loops.rings.points[points], starts, loops.rings.holes[chosen])
    return _Loops(rings, loops.labels[chosen], loops.touching[points])


def _thinned(loops: _Loops, tolerance: float) -> Rings:
    """Return the loops with fewer points; where two touch, the corners around stay as they are."""
    from clickcut.polygons.thinning import CELL, thin  # Numba, which most clients never need

    rings = loops.rings
    starts = rings.starts.astype(np.int64)
    following = np.arange(1, len(rings.points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    fixed = loops.touching.copy()
    fixed[following[loops.touching]] = True
    fixed |= loops.touching[following]

    columns, rows = (int(side) // CELL + 2 for side in rings.points.max(axis=0))
    places = rings.points[:, 1] // CELL * columns + rings.points[:, 0] // CELL
    members = np.argsort(places, kind="stable")
    cells = np.searchsorted(places[members], np.arange(columns * rows + 1))
    kept = np.ones(len(rings.points), np.bool_)
    thin(rings.points, starts, fixed, float(tolerance), cells, columns, members, kept)
    sizes = np.add.reduceat(kept, starts[:-1])
    return Rings(rings.points[kept], np.concatenate(([0], np.cumsum(sizes))), rings.holes)


def _polygons(rings: Rings, labels: NDArray[Any], origin: NDArray[np.float32]) -> list[Polygon]:
    """Return each outline, followed by its holes."""
    parts: dict[int, list[int]] = {}
    for ring, label in enumerate(labels.tolist()):
        parts.setdefault(label, []).append(ring)
    found: list[Polygon] = []
    for members in parts.values():
        parent = len(found)
        for ring in sorted(members, key=rings.hole):
            hole = rings.hole(ring)
            points = rings.points_of(ring) + origin
            found.append(Polygon(points, hole, parent if hole else -1))
    return found
