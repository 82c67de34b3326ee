"""Maximum flow: Boykov and Kolmogorov 2004, on the graph of `graph`, which grows with the search.

Two search trees grow from source and sink along residual edges; where they meet, flow is pushed
along the path, and nodes whose edge to their parent got full (*orphans*) look for a new parent in
their tree or leave it. At the end no residual path leads from source to sink, and the sink's tree
holds exactly the nodes that can reach the sink: the background of the mask with most object pixels.

The search can stop anywhere it needs something and go on later: all it knows is in the graph and in
its progress.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.graph import (
    ABOVE,
    ADOPTIONS,
    CAPACITY,
    CURRENT,
    DEPTH,
    DIRECTION,
    END,
    EXCESS,
    EXPANDED,
    FIRST,
    FIRST_ORPHAN,
    FREE,
    LAST,
    LAST_ORPHAN,
    NEIGHBOUR,
    NEXT,
    NEXT_ORPHAN,
    ORPHAN,
    PARENT,
    PATHS,
    RECORD,
    SCANS,
    SOURCE,
    STAMP,
    STEPS,
    TERMINAL,
    TIME,
    TREE,
    Field,
    Graph,
    can_expand,
    expand,
    natural,
)
from clickcut.kernels import inlined, kernel

DONE, NEEDS_TILE, NEEDS_ROOM = 0, 1, 2
"""Why `search` returned."""

HANGING = 2**30
"""Depth of a node that hangs on an orphan."""


@kernel
def search(field: Field, graph: Graph, progress: NDArray[np.int64]) -> int:
    """Push flow until it is maximal. Can be called again to go on.

    Returns:
        DONE; NEEDS_TILE: node `CURRENT`, or the first orphan, lies in a tile that is not ready;
        NEEDS_ROOM: the graph must have more room.
    """
    while True:
        i = natural(progress[FIRST_ORPHAN])
        if i != 0:
            if not graph[i + EXPANDED]:
                if not can_expand(field, graph, i):
                    return NEEDS_TILE
                if progress[END] + 8 * RECORD > graph.size:
                    return NEEDS_ROOM
                progress[END] = expand(field, graph, i, progress[END])
            if i == progress[LAST_ORPHAN]:
                progress[FIRST_ORPHAN] = 0
                progress[LAST_ORPHAN] = 0
            else:
                progress[FIRST_ORPHAN] = graph[i + NEXT_ORPHAN]
            _adopt(graph, i, progress)
            continue
        i = natural(progress[CURRENT])
        if i == 0:
            i = natural(progress[FIRST])
            if i == 0:
                return DONE
            following = natural(graph[i + NEXT])
            progress[FIRST] = following if following != i else 0
            if following == i:
                progress[LAST] = 0
            graph[i + NEXT] = 0
            progress[CURRENT] = i
            progress[DIRECTION] = 0
            progress[SCANS] += 1
        if graph[i + TREE] == FREE:  # it lost its tree since it became active, or just now
            progress[CURRENT] = 0
            continue
        if not graph[i + EXPANDED]:
            if not can_expand(field, graph, i):
                return NEEDS_TILE
            if progress[END] + 8 * RECORD > graph.size:
                return NEEDS_ROOM
            progress[END] = expand(field, graph, i, progress[END])
        k = _grow(graph, i, progress[DIRECTION], progress)
        if k == 8:
            progress[CURRENT] = 0
            continue
        # The trees meet. Afterwards the scan goes on at the same edge, which may carry more.
        progress[DIRECTION] = k
        progress[TIME] += 1
        if graph[i + TREE] == SOURCE:
            _augment(graph, i, k, progress)
        else:
            _augment(graph, natural(graph[i + NEIGHBOUR + k]), k ^ 1, progress)


@inlined
def _grow(graph: Graph, i: int, k: int, progress: NDArray[np.int64]) -> int:
    """Grow the tree of node i into its neighbours, from direction k on.

    Returns:
        The direction in which the other tree is met, else 8.
    """
    i, k = natural(i), natural(k)
    mine = graph[i + TREE]
    stamp, depth = graph[i + STAMP], graph[i + DEPTH]
    while k < 8:
        q = natural(graph[i + NEIGHBOUR + k])
        residual = graph[i + CAPACITY + k] if mine == SOURCE else graph[q + CAPACITY + (k ^ 1)]
        if residual > 0:
            other = graph[q + TREE]
            if other == FREE:
                graph[q + TREE] = mine
                graph[q + PARENT] = k ^ 1
                graph[q + ABOVE] = i
                graph[q + STAMP] = stamp
                graph[q + DEPTH] = depth + 1
                _activate(graph, q, progress)
            elif other != mine:
                break
            elif graph[q + STAMP] <= stamp and graph[q + DEPTH] > depth:
                graph[q + PARENT] = k ^ 1
                graph[q + ABOVE] = i
                graph[q + STAMP] = stamp
                graph[q + DEPTH] = depth + 1
        k += 1
    return k


@inlined
def _activate(graph: Graph, i: int, progress: NDArray[np.int64]) -> None:
    """Put node i at the end of the list of active nodes, unless it is in it."""
    if graph[i + NEXT] == 0:
        last = natural(progress[LAST])
        if last == 0:
            progress[FIRST] = i
        else:
            graph[last + NEXT] = i
        graph[i + NEXT] = i
        progress[LAST] = i


@inlined
def _orphan(graph: Graph, i: int, progress: NDArray[np.int64]) -> None:
    """Take node i from its parent and put it at the end of the list of orphans."""
    graph[i + PARENT] = ORPHAN
    last = natural(progress[LAST_ORPHAN])
    if last == 0:
        progress[FIRST_ORPHAN] = i
    else:
        graph[last + NEXT_ORPHAN] = i
    progress[LAST_ORPHAN] = i


@inlined
def _augment(graph: Graph, start: int, k: int, progress: NDArray[np.int64]) -> None:
    """Push flow along the path through the edge from node `start` of the source's tree."""
    start, k = natural(start), natural(k)
    other = natural(graph[start + NEIGHBOUR + k])
    least = int(graph[start + CAPACITY + k])
    i = start
    up = natural(graph[i + PARENT])
    while up != TERMINAL:
        i = natural(graph[i + ABOVE])
        least = min(least, int(graph[i + CAPACITY + (up ^ 1)]))
        up = natural(graph[i + PARENT])
    least = min(least, int(graph[i + EXCESS]))
    i = other
    up = natural(graph[i + PARENT])
    while up != TERMINAL:
        least = min(least, int(graph[i + CAPACITY + up]))
        i = natural(graph[i + ABOVE])
        up = natural(graph[i + PARENT])
    least = min(least, -int(graph[i + EXCESS]))

    steps = 1
    graph[start + CAPACITY + k] -= least
    graph[other + CAPACITY + (k ^ 1)] += least
    i = start
    up = natural(graph[i + PARENT])
    while up != TERMINAL:
        above = natural(graph[i + ABOVE])
        graph[i + CAPACITY + up] += least
        graph[above + CAPACITY + (up ^ 1)] -= least
        if graph[above + CAPACITY + (up ^ 1)] == 0:
            _orphan(graph, i, progress)
        i = above
        up = natural(graph[i + PARENT])
        steps += 1
    graph[i + EXCESS] -= least
    if graph[i + EXCESS] == 0:
        _orphan(graph, i, progress)
    i = other
    up = natural(graph[i + PARENT])
    while up != TERMINAL:
        above = natural(graph[i + ABOVE])
        graph[i + CAPACITY + up] -= least
        graph[above + CAPACITY + (up ^ 1)] += least
        if graph[i + CAPACITY + up] == 0:
            _orphan(graph, i, progress)
        i = above
        up = natural(graph[i + PARENT])
        steps += 1
    graph[i + EXCESS] += least
    if graph[i + EXCESS] == 0:
        _orphan(graph, i, progress)
    progress[PATHS] += 1
    progress[STEPS] += steps


@inlined
def _adopt(graph: Graph, i: int, progress: NDArray[np.int64]) -> None:
    """Give an orphan the parent nearest to the terminal, or free it and orphan its children."""
    i = natural(i)
    time = progress[TIME]
    progress[ADOPTIONS] += 1
    mine = graph[i + TREE]
    best, best_depth = -1, HANGING
    for k in range(8):
        q = natural(graph[i + NEIGHBOUR + k])
        if graph[q + TREE] != mine:
            continue
        residual = graph[q + CAPACITY + (k ^ 1)] if mine == SOURCE else graph[i + CAPACITY + k]
        if residual > 0:
            depth = _depth_of(graph, q, time)
            if depth < best_depth:
                best, best_depth = k, depth
    if best >= 0:
        graph[i + PARENT] = best
        graph[i + ABOVE] = graph[i + NEIGHBOUR + best]
        graph[i + STAMP] = time
        graph[i + DEPTH] = best_depth + 1
        return
    graph[i + TREE] = FREE
    for k in range(8):
        q = natural(graph[i + NEIGHBOUR + k])
        if graph[q + TREE] != mine:
            continue
        residual = graph[q + CAPACITY + (k ^ 1)] if mine == SOURCE else graph[i + CAPACITY + k]
        if residual > 0:
            _activate(graph, q, progress)
        if graph[q + PARENT] == (k ^ 1):
            _orphan(graph, q, progress)


@inlined
def _depth_of(graph: Graph, start: int, time: int) -> int:
    """Depth of a node in its tree, HANGING when it hangs on an orphan; stamps the way it went."""
    start = natural(start)
    i, steps = start, 0
    while graph[i + STAMP] != time:
        steps += 1
        up = natural(graph[i + PARENT])
        if up == TERMINAL:
            graph[i + STAMP] = time
            graph[i + DEPTH] = 1
            steps -= 1
            break
        if up == ORPHAN:
            return HANGING
        i = natural(graph[i + ABOVE])
    depth = steps + int(graph[i + DEPTH])
    i, here = start, depth
    while graph[i + STAMP] != time:
        graph[i + STAMP] = time
        graph[i + DEPTH] = here
        here -= 1
        i = natural(graph[i + ABOVE])
    return depth
