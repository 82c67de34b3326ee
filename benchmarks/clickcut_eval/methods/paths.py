"""Shortest paths on the 8-connected pixel grid with whole-number costs: Dijkstra on a bucket queue.

A path's cost is the sum of its edges' costs, at most `MAX_COST` each, so Dial's circular array of
buckets serves as the priority queue (Dial 1969) and the result is exact. Seeds may be added later:
only pixels that come closer to a seed are visited again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.problem import DX, DY
from clickcut.kernels import kernel

MAX_COST = 1 << 13
"""Costs of an edge lie below this."""

FAR = np.iinfo(np.int32).max
"""Distance of a pixel that no seed has reached."""

NO_PARENT = 8
"""Direction of a seed, and of a pixel that none has reached."""

LENGTHS = np.array([[1.0], [np.sqrt(2.0)]])
"""Lengths of axis and of diagonal edges, pixels: (2, 1), to go with tables of costs."""


class PathForest:
    """Nearest seed of every pixel, and the way to it.

    Args:
        costs: (H, W, 4) int32, of the edges from each pixel to E, S, SE, SW, in 0..`MAX_COST` - 1;
            those that leave the image are not read.

    Attributes:
        distance: (H, W) int32, cost of the cheapest path from a seed; `FAR` where there is none.
        label: (H, W) uint8, label of that seed; 0 where there is none. Of equally near seeds the
            earlier one keeps a pixel.
        parent: (H, W) uint8, the direction (`clickcut.cut.problem.DX`, `DY`) of the next pixel on
            the path back to the seed; `NO_PARENT` at seeds.
    """

    def __init__(self, costs: NDArray[np.int32]) -> None:
        self._costs = costs
        shape = costs.shape[:2]
        self.distance = np.full(shape, FAR, np.int32)
        self.label = np.zeros(shape, np.uint8)
        self.parent = np.full(shape, NO_PARENT, np.uint8)

    def grow(self, label: NDArray[np.uint8]) -> None:
        """Add seeds: (H, W) uint8, their label; 0 where no new seed is. Seeds once added stay."""
        _grow(self._costs, label, self.distance, self.label, self.parent)


@kernel
def _grow(
    costs: NDArray[np.int32],
    seeds: NDArray[np.uint8],
    distance: NDArray[np.int32],
    label: NDArray[np.uint8],
    parent: NDArray[np.uint8],
) -> None:
    height, width = distance.shape
    # Buckets are doubly linked lists through the pixels, so a pixel that comes closer is moved.
    head = np.full(MAX_COST, -1, np.int32)
    following = np.empty(height * width, np.int32)
    before = np.empty(height * width, np.int32)
    queued = np.zeros(height * width, np.uint8)
    waiting = 0
    for y in range(height):
        for x in range(width):
            if seeds[y, x]:
                distance[y, x], label[y, x], parent[y, x] = 0, seeds[y, x], NO_PARENT
                _push(head, following, before, 0, y * width + x)
                queued[y * width + x] = 1
                waiting += 1
    now = 0
    while waiting:
        place = now & (MAX_COST - 1)
        at = head[place]
        if at < 0:
            now += 1
            continue
        _remove(head, following, before, place, at)
        queued[at] = 0
        waiting -= 1
        y, x = at // width, at % width
        for k in range(8):
            v, u = y + DY[k], x + DX[k]
            if not (0 <= v < height and 0 <= u < width):
                continue
            cost = costs[y, x, k >> 1] if k % 2 == 0 else costs[v, u, k >> 1]
            reached = now + cost
            if reached < distance[v, u]:
                other = v * width + u
                if queued[other]:
                    _remove(head, following, before, distance[v, u] & (MAX_COST - 1), other)
                else:
                    queued[other] = 1
                    waiting += 1
                distance[v, u], label[v, u], parent[v, u] = reached, label[y, x], k ^ 1
                _push(head, following, before, reached & (MAX_COST - 1), other)


@kernel
def _push(
    head: NDArray[np.int32],
    following: NDArray[np.int32],
    before: NDArray[np.int32],
    place: int,
    at: int,
) -> None:
    following[at], before[at] = head[place], -1
    if head[place] >= 0:
        before[head[place]] = at
    head[place] = at


@kernel
def _remove(
    head: NDArray[np.int32],
    following: NDArray[np.int32],
    before: NDArray[np.int32],
    place: int,
    at: int,
) -> None:
    if before[at] >= 0:
        following[before[at]] = following[at]
    else:
        head[place] = following[at]
    if following[at] >= 0:
        before[following[at]] = before[at]


@kernel
def difference_costs(
    values: NDArray[np.float32],
    scale: float,
    tables: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Costs of edges by how much the pixels at their ends differ.

    Args:
        values: (H, W, C) float32.
        scale: the Euclidean length of the difference, times this, is an index into the tables.
        tables: (2, N) int32, cost by difference, of axis and of diagonal edges; the last entries
            stand for all larger differences.

    Returns:
        (H, W, 4) int32, clipped to `MAX_COST` - 1.
    """
    height, width, channels = values.shape
    costs = np.zeros((height, width, 4), np.int32)
    for k in range(0, 8, 2):
        dx, dy = DX[k], DY[k]
        for y in range(height - dy):
            for x in range(max(0, -dx), min(width, width - dx)):
                squared = np.float32(0)
                for c in range(channels):
                    d = values[y, x, c] - values[y + dy, x + dx, c]
                    squared += d * d
                index = min(int(np.sqrt(squared) * scale + 0.5), tables.shape[1] - 1)
                costs[y, x, k >> 1] = min(tables[k >> 2, index], MAX_COST - 1)
    return costs
