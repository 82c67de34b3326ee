"""Polygons in which pixels that touch at a corner are joined."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.polygons.outlines import Corners
from clickcut.polygons.polygon import Polygon, check_outlines

_PIECE = 4096
"""Points of an outline that are simplified together; between pieces one is kept."""


def joined_polygons(mask: NDArray[np.bool_], tolerance: float, x0: int, y0: int) -> list[Polygon]:
    """Return the outlines of a mask; see `clickcut.polygons.to_polygons`, without `valid`."""
    rings, _ = Corners.of(mask).rings()
    if not rings.count:
        return []
    large = rings.diagonals > tolerance
    if tolerance <= 0:
        large[:] = True
    check_outlines(rings, large, tolerance)
    origin = np.array((x0 - 0.5, y0 - 0.5), np.float32)
    exact = [
        Polygon(rings.points_of(k) + origin, rings.hole(k)) for k in np.flatnonzero(large).tolist()
    ]
    if tolerance <= 0:
        return exact
    kept = [p for p in (_simplified(p, tolerance) for p in exact) if len(p.points) >= 3]
    if kept:
        return kept
    largest = int(np.argmax(np.abs(rings.areas)))
    return [Polygon(rings.points_of(largest) + origin, rings.hole(largest))]


def _simplified(polygon: Polygon, tolerance: float) -> Polygon:
    """Douglas-Peucker, in pieces: its time grows with the square of the points at worst."""
    points = polygon.points
    if len(points) <= _PIECE:
        found = cv2.approxPolyDP(points.reshape(-1, 1, 2), tolerance, True).reshape(-1, 2)
        return Polygon(np.asarray(found, np.float32), polygon.hole)
    ring = np.concatenate((points, points[:1]))
    arcs = []
    for begin in range(0, len(points), _PIECE):
        arc = ring[begin : begin + _PIECE + 1].reshape(-1, 1, 2)
        arcs.append(cv2.approxPolyDP(arc, tolerance, False).reshape(-1, 2)[:-1])
    return Polygon(np.concatenate(arcs).astype(np.float32), polygon.hole)
