"""Maximum flow on the core: Boykov and Kolmogorov 2004, on a graph of fixed degree eight.

Two search trees grow from source and sink along residual edges; where they meet, flow is pushed
along the path, and nodes whose edge to their parent got full (*orphans*) look for a new parent in
their tree or leave it. At the end the sink tree holds exactly the nodes from which the sink can be
reached: the background of the mask with most object pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.cut.core import IS_BACKGROUND, IS_OBJECT, Core

FREE, SOURCE, SINK = 0, 1, 2
"""Which tree a node is in."""

TERMINAL, ORPHAN = 8, 9
"""Parents that are not a direction."""


class Trees(NamedTuple):
    """Scratch of the search, n entries each.

    Attributes:
        tree: uint8, FREE, SOURCE or SINK.
        parent: uint8, direction of the parent, TERMINAL or ORPHAN.
        stamp: int32, time at which `depth` was found right.
        depth: int32, edges to the terminal.
        queued: uint8, 1 while in `queue`.
        queue: int32, ring of active nodes.
        orphans: int32, ring.
    """

    tree: NDArray[np.uint8]
    parent: NDArray[np.uint8]
    stamp: NDArray[np.int32]
    depth: NDArray[np.int32]
    queued: NDArray[np.uint8]
    queue: NDArray[np.int32]
    orphans: NDArray[np.int32]


@njit(cache=True, nogil=True)
def max_flow(
    core: Core, nodes: NDArray[np.int32], count: int, trees: Trees, work: NDArray[np.int64]
) -> None:
    """Solve: pushes flow and sets the labels of `nodes`.

    Args:
        core: updated.
        nodes: (count,) int32, the undecided nodes; the others have no edges.
        count: how many of them.
        trees: scratch.
        work: (4,) int64, added to: nodes scanned, paths, edges on paths, orphans.
    """
    ring = trees.queue.size
    tree, parent, queued, queue = trees.tree, trees.parent, trees.queued, trees.queue
    neighbour, capacity = core.neighbour, core.capacity
    head, tail = 0, 0
    _plant(core, nodes, count, trees)
    for n in range(count):
        i = nodes[n]
        if tree[i] != FREE and _at_border(core, tree, i):
            queued[i] = 1
            queue[tail] = i
            tail += 1
    tail %= ring
    waiting = tail if tail > 0 or count < ring else ring
    time = 0
    if waiting == 0:
        waiting = 0
    waiting = _queued_count(queued, nodes, count)
    while waiting > 0:
        p = np.int64(queue[head])
        head = head + 1 if head + 1 < ring else 0
        waiting -= 1
        queued[p] = 0
        k = 0
        while k < 8:
            mine = tree[p]
            if mine == FREE:
                break
            q = np.int64(neighbour[8 * p + k])
            residual = capacity[8 * p + k] if mine == SOURCE else capacity[8 * q + (k ^ 1)]
            if residual == 0:
                k += 1
                continue
            other = tree[q]
            if other == FREE:
                tree[q] = mine
                parent[q] = k ^ 1
                trees.stamp[q] = trees.stamp[p]
                trees.depth[q] = trees.depth[p] + 1
                if not queued[q]:
                    queued[q] = 1
                    queue[tail] = q
                    tail = tail + 1 if tail + 1 < ring else 0
                    waiting += 1
            elif other != mine:
                time += 1
                if mine == SOURCE:
                    orphans = _augment(core, trees, p, k, work)
                else:
                    orphans = _augment(core, trees, q, k ^ 1, work)
                tail, waiting = _adopt(core, trees, orphans, time, tail, waiting, work)
                continue  # the same edge may carry more
            elif trees.stamp[q] <= trees.stamp[p] and trees.depth[q] > trees.depth[p]:
                parent[q] = k ^ 1
                trees.stamp[q] = trees.stamp[p]
                trees.depth[q] = trees.depth[p] + 1
            k += 1
        work[0] += 1
    for n in range(count):
        i = nodes[n]
        core.label[i] = IS_BACKGROUND if tree[i] == SINK else IS_OBJECT
