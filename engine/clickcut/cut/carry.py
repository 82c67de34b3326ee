"""Move a graph to a new region, or remove nodes that it no longer needs.

Any flow within the weights is a valid start, for any unaries: it only moves excess
along edges. Nodes of pixels outside the new region are removed, and with them the flow to them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.graph import (
    CAPACITY,
    EXCESS,
    EXPANDED,
    NEIGHBOUR,
    RECORD,
    Graph,
    X,
    Y,
    natural,
)
from clickcut.kernels import kernel


@kernel
def clear_numbers(graph: Graph, end: int, number: NDArray[np.int32], width: int) -> None:
    """Reset the entries of all nodes in `Field.number` to 0.

    Args:
        graph: read.
        end: first unused node.
        number: (h * w,) int32, see `Field`; updated.
        width: of the region, pixels.
    """
    for i in range(RECORD, end, RECORD):
        number[natural(graph[i + Y]) * width + natural(graph[i + X])] = 0


@kernel
def carry(
    graph: Graph,
    end: int,
    dx: int,
    dy: int,
    width: int,
    height: int,
    all_nodes: bool,
    number: NDArray[np.int32],
) -> int:
    """Move a graph to another region, keeping its flow.

    Args:
        graph: of the last solve; updated, except its trees: `start_search` rebuilds them.
        end: first unused node.
        dx: what to add to X, pixels.
        dy: what to add to Y.
        width: of the new region, pixels.
        height: of the new region.
        all_nodes: keep all nodes inside; else only those with flow on their edges.
        number: (height * width,) int32, zeros; filled.

    Returns:
        The new first unused node.
    """
    last = end
    i = RECORD
    while i < last:
        graph[i + X] += dx
        graph[i + Y] += dy
        inside = 0 <= graph[i + X] < width and 0 <= graph[i + Y] < height
        if inside and (all_nodes or _has_flow(graph, i)):
            i += RECORD
            continue
        _detach(graph, i)
        last -= RECORD
        if i != last:
            _rename(graph, last, i)
    for i in range(RECORD, last, RECORD):
        number[natural(graph[i + Y]) * width + natural(graph[i + X])] = i
        for k in range(8):
            if graph[i + NEIGHBOUR + k] == 0:  # perhaps there is a pixel now
                graph[i + EXPANDED] = 0
    return last


@kernel
def _has_flow(graph: Graph, i: int) -> bool:
    for k in range(8):
        q = natural(graph[i + NEIGHBOUR + k])
        if q != 0 and graph[i + CAPACITY + k] != graph[q + CAPACITY + (k ^ 1)]:
            return True
    return False


@kernel
def _detach(graph: Graph, i: int) -> None:
    """Remove the edges of node i, and the flow on them."""
    for k in range(8):
        q = natural(graph[i + NEIGHBOUR + k])
        if q != 0:
            graph[q + EXCESS] += (graph[i + CAPACITY + k] - graph[q + CAPACITY + (k ^ 1)]) // 2
            graph[q + CAPACITY + (k ^ 1)] = 0
            graph[q + NEIGHBOUR + (k ^ 1)] = 0


@kernel
def _rename(graph: Graph, old: int, new: int) -> None:
    """Move the record of a node."""
    for n in range(RECORD):
        graph[new + n] = graph[old + n]
    for k in range(8):
        q = natural(graph[new + NEIGHBOUR + k])
        if q != 0:
            graph[q + NEIGHBOUR + (k ^ 1)] = new
