"""Guidance maps: clicks of one sign -> one channel of the network's input (paper section 3.1).

`distance`: U of equation 1, the exact Euclidean distance in pixels to the nearest click, truncated
at 255; 255 everywhere for no clicks. `disc`: 1 within a radius of a click, else 0.

Both are kept up to date in place. Adding a point touches only pixels it can change; removing one
recomputes only the pixels that it determined, from the points that remain, so the map always equals
one built from scratch. All kernels fill arrays given to them and release the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import Point
from clickcut.kernels import kernel

TRUNCATION = np.float32(255.0)
NO_POINT = -1
"""Marks a pixel of a distance map that no point determines: it has the truncated value."""

REBUILD_FROM = 12
"""Number of changed points from which one pass over the whole map is cheaper than updates."""


@kernel
def add_to_distance(
    distance: NDArray[np.float32],
    nearest: NDArray[np.int32],
    x: int,
    y: int,
    ident: int,
    reach: int,
) -> None:
    """Lower `distance` to that of the new point (x, y) where it is nearer.

    Args:
        distance: (H, W) float32, pixels; updated.
        nearest: (H, W) int32, which point determines each pixel; updated.
        x: column of the point.
        y: row of the point.
        ident: identity of the point, written to `nearest`.
        reach: no pixel farther away than this can change (the largest value of `distance`).
    """
    height, width = distance.shape
    for row in range(max(0, y - reach), min(height, y + reach + 1)):
        dy2 = np.float32((row - y) * (row - y))
        for col in range(max(0, x - reach), min(width, x + reach + 1)):
            dx = np.float32(col - x)
            d = np.sqrt(dy2 + dx * dx)
            if d < distance[row, col]:
                distance[row, col] = d
                nearest[row, col] = ident


@kernel
def remove_from_distance(
    distance: NDArray[np.float32],
    nearest: NDArray[np.int32],
    ident: int,
    points: NDArray[np.int32],
    idents: NDArray[np.int32],
) -> None:
    """Recompute the pixels that the removed point determined, from the points that remain.

    Args:
        distance: (H, W) float32; updated.
        nearest: (H, W) int32; updated.
        ident: the removed point.
        points: (N, 2) int32, (x, y) of the remaining points.
        idents: (N,) int32, their identities.
    """
    height, width = distance.shape
    for row in range(height):
        for col in range(width):
            if nearest[row, col] != ident:
                continue
            best, who = np.float32(255.0), -1
            for k in range(points.shape[0]):
                dx = np.float32(col - points[k, 0])
                dy = np.float32(row - points[k, 1])
                d = np.sqrt(dx * dx + dy * dy)
                if d < best:
                    best, who = d, idents[k]
            distance[row, col] = best
            nearest[row, col] = who


@kernel
def build_distance(
    distance: NDArray[np.float32],
    nearest: NDArray[np.int32],
    points: NDArray[np.int32],
    idents: NDArray[np.int32],
    column: NDArray[np.int32],
) -> None:
    """Fill the map from scratch in two passes, O(H W + N) (Felzenszwalb and Huttenlocher 2012).

    Args:
        distance: (H, W) float32; filled.
        nearest: (H, W) int32; filled.
        points: (N, 2) int32, (x, y), inside the map.
        idents: (N,) int32.
        column: (H, W) int32, scratch: the row of the nearest point in the same column, or -1.
    """
    height, width = distance.shape
    nearest[:] = -1
    column[:] = -1
    for k in range(points.shape[0]):
        column[points[k, 1], points[k, 0]] = points[k, 1]
        nearest[points[k, 1], points[k, 0]] = idents[k]
    for row in range(1, height):
        for col in range(width):
            if column[row, col] < 0 and column[row - 1, col] >= 0:
                column[row, col] = column[row - 1, col]
    for row in range(height - 2, -1, -1):
        for col in range(width):
            below = column[row + 1, col]
            above = column[row, col]
            if below >= 0 and (above < 0 or abs(below - row) < abs(row - above)):
                column[row, col] = below
    _lower_envelopes(distance, nearest, column)


@kernel
def _lower_envelopes(
    distance: NDArray[np.float32], nearest: NDArray[np.int32], column: NDArray[np.int32]
) -> None:
    """Second pass: along each row, the lower envelope of the parabolas of its columns."""
    height, width = distance.shape
    site = np.empty(width, np.int64)
    start = np.empty(width + 1, np.float64)
    for row in range(height):
        count = 0
        for col in range(width):
            if column[row, col] < 0:
                continue
            f = (column[row, col] - row) ** 2 + col * col
            while count > 0:
                s = site[count - 1]
                g = (column[row, s] - row) ** 2 + s * s
                cross = (f - g) / (2.0 * (col - s))
                if cross > start[count - 1]:
                    break
                count -= 1
            start[count] = cross if count > 0 else -1e18
            site[count] = col
            count += 1
        k = 0
        for col in range(width):
            while k + 1 < count and start[k + 1] < col:
                k += 1
            if count == 0:
                distance[row, col] = 255.0
                continue
            dx = np.float32(col - site[k])
            dy = np.float32(row - column[row, site[k]])
            d = np.sqrt(dx * dx + dy * dy)
            inside = d < 255.0
            distance[row, col] = d if inside else np.float32(255.0)
            if row != column[row, site[k]] or col != site[k]:
                nearest[row, col] = _ident_at(nearest, column[row, site[k]], site[k], inside)


@kernel
def _ident_at(nearest: NDArray[np.int32], row: int, col: int, inside: bool) -> int:
    # A pixel that holds a point keeps that point's identity, whatever the order of the rows.
    return nearest[row, col] if inside else -1


@kernel
def stamp_disc(
    channel: NDArray[np.float32], count: NDArray[np.int32], x: int, y: int, radius: int, step: int
) -> None:
    """Add (`step` 1) or take away (`step` -1) one disc.

    Args:
        channel: (H, W) float32, 1 where any disc is, else 0; updated.
        count: (H, W) int32, discs over each pixel; updated.
        x: column of the centre.
        y: row of the centre.
        radius: pixels; the disc holds the pixels at most this far from the centre.
        step: 1 or -1.
    """
    height, width = channel.shape
    for row in range(max(0, y - radius), min(height, y + radius + 1)):
        for col in range(max(0, x - radius), min(width, x + radius + 1)):
            if (row - y) * (row - y) + (col - x) * (col - x) <= radius * radius:
                count[row, col] += step
                channel[row, col] = 1.0 if count[row, col] > 0 else 0.0


class GuidanceMap(Protocol):
    """A channel that shows a set of points."""

    channel: NDArray[np.float32]

    def show(self, points: Iterable[Point]) -> None:
        """Bring `channel` (H, W) in line with `points`, (x, y) inside the map."""


class DistanceMap:
    """U1 or U0 of the paper, kept up to date in place.

    Args:
        channel: (H, W) float32, C-contiguous; filled and owned from now on.
    """

    def __init__(self, channel: NDArray[np.float32]) -> None:
        self.channel = channel
        self._nearest = np.full(channel.shape, NO_POINT, np.int32)
        self._column = np.empty(channel.shape, np.int32)
        self._idents: dict[Point, int] = {}
        self._fresh = 0
        channel.fill(TRUNCATION)

    def show(self, points: Iterable[Point]) -> None:
        """See `GuidanceMap.show`."""
        wanted = dict.fromkeys(points)
        gone = [p for p in self._idents if p not in wanted]
        new = [p for p in wanted if p not in self._idents]
        if len(gone) + len(new) >= REBUILD_FROM or len(gone) == len(self._idents) > 0:
            self._idents = {p: k for k, p in enumerate(wanted)}
            self._fresh = len(wanted)
            build_distance(self.channel, self._nearest, *self._arrays(), self._column)
            return
        for point in gone:
            ident = self._idents.pop(point)
            remove_from_distance(self.channel, self._nearest, ident, *self._arrays())
        for x, y in new:
            reach = int(np.ceil(self.channel.max()))
            add_to_distance(self.channel, self._nearest, x, y, self._fresh, reach)
            self._idents[x, y] = self._fresh
            self._fresh += 1

    def _arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        points = np.array(list(self._idents), np.int32).reshape(-1, 2)
        return points, np.array(list(self._idents.values()), np.int32)


class DiscMap:
    """Discs around the points, kept up to date in place.

    Args:
        channel: (H, W) float32, C-contiguous; filled and owned from now on.
        radius: of the discs, pixels.
    """

    def __init__(self, channel: NDArray[np.float32], radius: int) -> None:
        self.channel = channel
        self.radius = radius
        self._count = np.zeros(channel.shape, np.int32)
        self._points: set[Point] = set()
        channel.fill(0.0)

    def show(self, points: Iterable[Point]) -> None:
        """See `GuidanceMap.show`."""
        wanted = set(points)
        for x, y in self._points - wanted:
            stamp_disc(self.channel, self._count, x, y, self.radius, -1)
        for x, y in wanted - self._points:
            stamp_disc(self.channel, self._count, x, y, self.radius, 1)
        self._points = wanted


def guidance_map(encoding: str, channel: NDArray[np.float32], radius: int) -> GuidanceMap:
    """Return the map of a click encoding (`distance` or `disc`) on `channel` (H, W) float32."""
    return DistanceMap(channel) if encoding == "distance" else DiscMap(channel, radius)
