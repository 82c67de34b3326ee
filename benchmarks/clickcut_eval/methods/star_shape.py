"""Star shapes on the pixel grid: ways to centres, what follows from seeds, the constrained cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.problem import DX, DY
from clickcut.kernels import kernel
from clickcut_eval.methods.base import BACKGROUND, OBJECT
from clickcut_eval.methods.paths import NO_PARENT

FORBIDDEN = 1 << 30
"""Capacity of an edge that must not be cut; all flows together stay below it."""

_FREE = 3


@kernel
def line_parents(centres: NDArray[np.int32], height: int, width: int) -> NDArray[np.uint8]:
    """The neighbour nearest to the straight line from each pixel to its nearest centre.

    Args:
        centres: (N, 2) int32, x and y; of equally near ones the first counts.
        height: of the image.
        width: of the image.

    Returns:
        (H, W) uint8, directions; `NO_PARENT` at centres, and everywhere when there are none.
    """
    out = np.full((height, width), NO_PARENT, np.uint8)
    for y in range(height):
        for x in range(width):
            best, dx, dy = -1, 0, 0
            for n in range(centres.shape[0]):
                u, v = centres[n, 0] - x, centres[n, 1] - y
                squared = u * u + v * v
                if best < 0 or squared < best:
                    best, dx, dy = squared, u, v
            if best <= 0:
                continue
            longest = max(abs(dx), abs(dy))
            # Rounded half away from zero, the same on all sides of a centre.
            sx = (2 * abs(dx) + longest) // (2 * longest) * (1 if dx > 0 else -1)
            sy = (2 * abs(dy) + longest) // (2 * longest) * (1 if dy > 0 else -1)
            for k in range(8):
                if DX[k] == sx and DY[k] == sy:
                    out[y, x] = k
    return out


@kernel
def fixed_labels(label: NDArray[np.uint8], parents: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels that follow from the seeds alone.

    Behind a background seed all is background, from an object seed to its centre all is object.

    Where a centre's own seeds contradict each other (a background seed between an object seed and
    its centre), the object seed wins, and the pixels on its way are free.

    Args:
        label: (H, W) uint8, the seeds.
        parents: (H, W) uint8, directions towards the centre.

    Returns:
        (H, W) uint8: `OBJECT`, `BACKGROUND` or 0 = not fixed.
    """
    height, width = label.shape
    out = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            if label[y, x] == OBJECT:
                v, u = y, x
                while out[v, u] != OBJECT:
                    out[v, u] = OBJECT
                    k = parents[v, u]
                    if k == NO_PARENT:
                        break
                    v, u = v + DY[k], u + DX[k]
    # Follow each way to a pixel that is known, then label all pixels passed; `_FREE` = known to be
    # free, so that no way is followed twice.
    for y in range(height):
        for x in range(width):
            v, u, found = y, x, out[y, x]
            while found == 0:
                if out[v, u] != 0:
                    found = BACKGROUND if out[v, u] == BACKGROUND else _FREE
                elif label[v, u] == BACKGROUND:
                    found = BACKGROUND
                elif parents[v, u] == NO_PARENT:
                    found = _FREE
                else:
                    v, u = v + DY[parents[v, u]], u + DX[parents[v, u]]
            end_y, end_x = v, u
            v, u = y, x
            while out[v, u] == 0:
                out[v, u] = found
                if v == end_y and u == end_x:
                    break
                v, u = v + DY[parents[v, u]], u + DX[parents[v, u]]
    for y in range(height):
        for x in range(width):
            if out[y, x] == _FREE:
                out[y, x] = 0
    return out


def star_cut(
    unary: NDArray[np.int32],
    weights: NDArray[np.int32],
    parents: NDArray[np.uint8],
    fixed: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """The mask of least energy in which no object pixel has a background parent.

    Args:
        unary: (H, W) int32, positive: object.
        weights: (H, W, 4) int32, between neighbours, to E, S, SE, SW; see `EdgeWeights.dense`.
        parents: (H, W) uint8, directions towards the centre.
        fixed: (H, W) uint8, labels that are given; consistent with `parents`, see `fixed_labels`.

    Returns:
        (H, W) bool; of several such masks the one with most object pixels.
    """
    import maxflow

    node, excess, ends, capacities = _problem(unary, weights, parents, fixed)
    graph = maxflow.GraphInt(len(excess), len(ends))
    graph.add_nodes(len(excess))
    nodes = np.arange(len(excess), dtype=np.int32)
    if len(ends):
        graph.add_edges(ends[:, 0], ends[:, 1], capacities[:, 0], capacities[:, 1])
    if len(excess):
        graph.add_grid_tedges(nodes, np.maximum(excess, 0), np.maximum(-excess, 0))
        graph.maxflow()
    mask: NDArray[np.bool_] = fixed == OBJECT
    free = node >= 0
    if len(excess):
        mask[free] = ~graph.get_grid_segments(nodes)
    return mask


@kernel
def _problem(
    unary: NDArray[np.int32],
    weights: NDArray[np.int32],
    parents: NDArray[np.uint8],
    fixed: NDArray[np.uint8],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The free pixels as nodes 0, 1, ... in row order, or -1; their unaries; edges; capacities."""
    height, width = unary.shape
    node = np.full((height, width), -1, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if fixed[y, x] == 0:
                node[y, x] = count
                count += 1
    excess = np.zeros(count, np.int32)
    ends = np.empty((4 * count, 2), np.int32)
    capacities = np.empty((4 * count, 2), np.int32)
    edges = 0
    for y in range(height):
        for x in range(width):
            here = node[y, x]
            if here < 0:
                continue
            excess[here] += unary[y, x]
            for k in range(8):
                v, u = y + DY[k], x + DX[k]
                if not (0 <= v < height and 0 <= u < width):
                    continue
                weight = weights[y, x, k >> 1] if k % 2 == 0 else weights[v, u, k >> 1]
                there = node[v, u]
                if there < 0:
                    excess[here] += weight if fixed[v, u] == OBJECT else -weight
                elif k % 2 == 0:
                    ends[edges, 0], ends[edges, 1] = here, there
                    capacities[edges, 0] = weight + (FORBIDDEN if parents[y, x] == k else 0)
                    capacities[edges, 1] = weight + (FORBIDDEN if parents[v, u] == k ^ 1 else 0)
                    edges += 1
    return node, excess, ends[:edges], capacities[:edges]
