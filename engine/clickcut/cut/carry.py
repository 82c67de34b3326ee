"""Take the flow of one graph over to another, when the region has moved.

Any flow within the weights is a valid start, whatever the unaries are now: it only moves excess
along edges. Where an edge is not inside the new region, its flow is left out.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.cut.graph import (
    CAPACITY,
    EXCESS,
    EXPANDED,
    NEIGHBOUR,
    RECORD,
    Field,
    Graph,
    X,
    Y,
    add_node,
    can_expand,
    expand,
)
from clickcut.cut.problem import DX, DY


@njit(cache=True, nogil=True)
def take_flow(
    graph: Graph,
    end: int,
    number: NDArray[np.int32],
    width: int,
    x0: int,
    y0: int,
    flows: NDArray[np.int32],
) -> int:
    """List the flow on all edges and empty the graph.

    Args:
        graph: read.
        end: first unused node.
        number: see `Field`; becomes 0 everywhere.
        width: of the region.
        x0: left column of the region in the image.
        y0: top row of the region in the image.
        flows: (M, 4) int32, M at least four times the nodes; filled with x and y in the image,
            direction, flow.

    Returns:
        How many edges have flow.
    """
    found = 0
    for i in range(RECORD, end, RECORD):
        x, y = int(graph[i + X]), int(graph[i + Y])
        number[y * width + x] = 0
        for k in range(0, 8, 2):
            q = int(graph[i + NEIGHBOUR + k])
            back, forth = graph[q + CAPACITY + k + 1], graph[i + CAPACITY + k]
            if q == 0 or back == forth:
                continue
            flows[found, 0], flows[found, 1] = x + x0, y + y0
            flows[found, 2], flows[found, 3] = k, (back - forth) // 2
            found += 1
    return found


@njit(cache=True, nogil=True)
def give_flow(
    field: Field, graph: Graph, flows: NDArray[np.int32], start: int, end: int
) -> tuple[int, int]:
    """Put listed flow into a graph.

    Args:
        field: of the new region.
        graph: extended. Trees and state bytes follow the excess in `start_search`.
        flows: (N, 4) int32, see `take_flow`.
        start: first entry to use.
        end: first unused node.

    Returns:
        The next entry to use, N when all are done (else the graph has too little room); the first
        unused node now.
    """
    height, width = field.state.shape
    for n in range(start, flows.shape[0]):
        if end + 9 * RECORD > graph.size:
            return n, end
        x, y = int(flows[n, 0]) - field.x0, int(flows[n, 1]) - field.y0
        k, flow = int(flows[n, 2]), flows[n, 3]
        u, v = x + DX[k], y + DY[k]
        if not (0 <= x < width and 0 <= y < height and 0 <= u < width and 0 <= v < height):
            continue
        i = int(field.number[y * width + x])
        if i == 0:
            i = end
            add_node(field, graph, x, y, i)
            end += RECORD
        if not graph[i + EXPANDED]:
            if not can_expand(field, graph, i):
                continue
            end = expand(field, graph, i, end)
        q = int(graph[i + NEIGHBOUR + k])
        graph[i + CAPACITY + k] -= flow
        graph[q + CAPACITY + k + 1] += flow
        graph[i + EXCESS] -= flow
        graph[q + EXCESS] += flow
    return flows.shape[0], end
