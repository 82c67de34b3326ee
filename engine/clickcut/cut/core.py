"""The core: what the reduction leaves, as a small graph of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.cut.problem import CORE, DX, DY, OBJECT, Samples, unary_with_seeds
from clickcut.cut.reduction import _weight

UNDECIDED, IS_OBJECT, IS_BACKGROUND = 0, 1, 2
"""Labels of core nodes."""


class Core(NamedTuple):
    """A graph over the pixels of the core; node n (one past the last) has no edges.

    Attributes:
        pixel: (n,) int32, y width + x in the region, ascending.
        neighbour: (8 (n + 1),) int32, node in direction k at 8 i + k; n where there is none.
        capacity: (8 (n + 1),) int32, residual capacity from i in direction k.
        excess: (n,) int32, > 0: residual capacity from the source; < 0: to the sink.
        label: (n,) uint8, UNDECIDED until known.
    """

    pixel: NDArray[np.int32]
    neighbour: NDArray[np.int32]
    capacity: NDArray[np.int32]
    excess: NDArray[np.int32]
    label: NDArray[np.uint8]


@njit(cache=True, nogil=True)
def collect_core(
    state: NDArray[np.uint8], visited: NDArray[np.int32], count: int, pixel: NDArray[np.int32]
) -> int:
    """Copy the visited pixels that have CORE to `pixel`; returns how many."""
    width = state.shape[1]
    found = 0
    for n in range(count):
        p = visited[n]
        if state[p // width, p % width] & CORE:
            pixel[found] = p
            found += 1
    return found


@njit(cache=True, nogil=True)
def build_core(
    samples: Samples,
    state: NDArray[np.uint8],
    x0: int,
    y0: int,
    store: NDArray[np.int32],
    image_width: int,
    core: Core,
    count: int,
    number: NDArray[np.int32],
) -> None:
    """Fill the graph; a weight to a pixel with a known label becomes excess.

    Args:
        samples: of the region.
        state: (h, w) uint8.
        x0: left column of the region in the image.
        y0: top row of the region in the image.
        store: see `EdgeWeights`.
        image_width: columns of the image.
        core: `pixel` is given, the rest is filled.
        count: n.
        number: (h * w,) int32, scratch.
    """
    height, width = state.shape
    for i in range(count):
        number[core.pixel[i]] = i
    for i in range(count):
        p = np.int64(core.pixel[i])
        y = p // width
        x = p - y * width
        total = unary_with_seeds(samples, state[y, x], x, y)
        for k in range(8):
            u, v = x + DX[k], y + DY[k]
            node, w = count, 0
            if 0 <= u < width and 0 <= v < height:
                w = _weight(store, image_width, x + x0, y + y0, k)
                other = state[v, u]
                if other & CORE:
                    node = number[v * width + u]
                else:
                    total += w if other & OBJECT else -w
                    w = 0
            core.neighbour[8 * i + k] = node
            core.capacity[8 * i + k] = w
        core.excess[i] = total
        core.label[i] = UNDECIDED
    core.neighbour[8 * count : 8 * count + 8] = count
    core.capacity[8 * count : 8 * count + 8] = 0


@njit(cache=True, nogil=True)
def refine(
    core: Core,
    count: int,
    nodes: NDArray[np.int32],
    margin: NDArray[np.int32],
    stack: NDArray[np.int32],
) -> int:
    """Repeat the reduction on the core, whose unaries have changed, while it pays.

    Args:
        core: capacities symmetric; decided nodes get their label and lose their edges.
        count: n.
        nodes: (n,) int32; filled with the undecided nodes, ascending.
        margin: (n,) int32, scratch.
        stack: (n,) int32, scratch.

    Returns:
        How many are undecided.
    """
    left = count
    for i in range(count):
        nodes[i] = i
    while left > 0:
        _peel_core(core, nodes, left, margin, stack)
        kept = 0
        for n in range(left):
            i = nodes[n]
            if margin[i] < 0:
                nodes[kept] = i
                kept += 1
            else:
                _decide(core, i, margin)
        # A round costs about as much as it saves when it decides one node in twenty.
        enough = 20 * (left - kept) < left
        left = kept
        if enough:
            break
    return left


@njit(cache=True, nogil=True)
def _peel_core(
    core: Core,
    nodes: NDArray[np.int32],
    left: int,
    margin: NDArray[np.int32],
    stack: NDArray[np.int32],
) -> None:
    """Margins as in `reduction.peel`; < 0 for the nodes that are peeled."""
    excess, capacity, neighbour = core.excess, core.capacity, core.neighbour
    top = 0
    for n in range(left):
        i = nodes[n]
        positive = excess[i] >= 0
        rest = excess[i] if positive else -1 - excess[i]
        for k in range(8):
            w = capacity[8 * i + k]
            if w > 0 and (excess[neighbour[8 * i + k]] >= 0) != positive:
                rest -= w
        margin[i] = rest
        if rest < 0:
            stack[top] = i
            top += 1
    while top > 0:
        top -= 1
        i = stack[top]
        positive = excess[i] >= 0
        for k in range(8):
            w = capacity[8 * i + k]
            if w == 0:
                continue
            q = neighbour[8 * i + k]
            before = margin[q]
            if before < 0 or (excess[q] >= 0) != positive:
                continue
            margin[q] = before - w
            if before < w:
                stack[top] = q
                top += 1


@njit(cache=True, nogil=True, inline="always")
def _decide(core: Core, i: int, margin: NDArray[np.int32]) -> None:
    """Give node i the label of its sign and move its weights onto its neighbours."""
    positive = core.excess[i] >= 0
    core.label[i] = IS_OBJECT if positive else IS_BACKGROUND
    for k in range(8):
        w = core.capacity[8 * i + k]
        if w == 0:
            continue
        q = core.neighbour[8 * i + k]
        core.capacity[8 * i + k] = 0
        core.capacity[8 * q + (k ^ 1)] = 0
        if margin[q] < 0:
            core.excess[q] += w if positive else -w
