"""The graph of a cut, built only where the search comes by.

A pixel that is no node of the graph is, all the same, part of the search: it is a root of the tree
of its sign, with its whole unary and all its weights unused. That is why a pixel far from any pixel
of the other sign costs nothing, whatever its unary.

The graph is one int32 array of records; a node is named by the offset of its record, so
`graph[i + EXCESS]` is the excess of node i. The record at 0 stands for "nowhere": it has no
capacity. One array, and records of two cache lines, because that decides the speed of the search.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.memory import reserve
from clickcut.cut.problem import DX, DY, IDLE, NODE, OBJECT, SEED, Samples, unary_with_seeds
from clickcut.cut.weights import TILE_BITS, TILE_READY
from clickcut.errors import CutError
from clickcut.kernels import kernel

RECORD = 32
"""Entries of a record; some are unused."""

CAPACITY = 0
"""+ k: residual capacity in direction k. With that of the opposite direction at the neighbour, the
sum is twice the edge weight."""

EXCESS = 8
"""Unary + flow in - flow out. > 0: what the source can still give to the node; < 0: what the sink
can still take from it."""

TREE, PARENT, ABOVE = 9, 10, 11
"""FREE, SOURCE or SINK; direction of the parent, TERMINAL or ORPHAN; the parent if it is a node."""

STAMP, DEPTH = 12, 13
"""Time at which the depth was found right; edges to the terminal."""

NEXT, NEXT_ORPHAN = 14, 15
"""In the list of active nodes: the next one, itself for the last, 0 when not in it. In the list of
orphans: the next one."""

NEIGHBOUR = 16
"""+ k: node in direction k, 0 when there is none or it is not known yet."""

X, Y, UNARY = 24, 25, 26
"""Pixel in the region; its unary in the last solve."""

EXPANDED = 27
"""1 when all neighbours are nodes and all capacities are known."""

FREE, SOURCE, SINK = 0, 1, 2

TERMINAL, ORPHAN = 8, 9

END, FIRST, LAST, FIRST_ORPHAN, LAST_ORPHAN, TIME, CURRENT, DIRECTION = range(8)
"""Entries of the progress of a search, (PROGRESS,) int64. First unused node; ends of the lists of
active nodes and of orphans, 0 when empty; paths so far; the node being scanned (0: none) and the
next direction to look in."""

PATHS, STEPS, SCANS, ADOPTIONS = range(8, 12)
"""More entries, for measurements: paths, edges on them, nodes scanned, orphans treated."""

PROGRESS = 12
"""Entries of the progress."""

Graph = NDArray[np.int32]


class Field(NamedTuple):
    """The region of a cut, pixel by pixel.

    Attributes:
        samples: unaries.
        state: (h, w) uint8, bits of `problem`.
        number: (h * w,) int32, node of a pixel; 0 when it is none.
        store: see `EdgeWeights`.
        ready: tiles of it that may be read (TILE_READY), see `EdgeWeights.ensure` and
            `missing_tiles`.
        image_width: columns of the image.
        x0: left column of the region in the image.
        y0: top row of the region in the image.
    """

    samples: Samples
    state: NDArray[np.uint8]
    number: NDArray[np.int32]
    store: NDArray[np.int32]
    ready: NDArray[np.uint8]
    image_width: int
    x0: int
    y0: int


def make_graph(room: int) -> Graph:
    """A graph with room for `room` records; it takes memory by the page where they are written."""
    return reserve(room * RECORD)  # starts on a page, so every record on a cache line


def enlarged(graph: Graph) -> Graph:
    """The graph with twice the room.

    Raises:
        CutError: it would have more nodes than int32 can name.
    """
    if 2 * graph.size > np.iinfo(np.int32).max:
        raise CutError(
            f"the cut has more than {graph.size // RECORD:,} undecided pixels; "
            "use a smaller region or a larger lambda"
        )
    larger = make_graph(2 * graph.size // RECORD)
    larger[: graph.size] = graph
    return larger


@kernel
def natural(number: int) -> int:
    """A node or coordinate read from a graph, as an int64 that cannot be negative.

    It says so to the compiler, which would otherwise look at each access whether the index counts
    from the end: a quarter of the search's time.
    """
    return int(number) & 0xFFFFFFFF


@kernel
def add_node(field: Field, graph: Graph, x: int, y: int, i: int) -> None:
    """Make pixel (x, y) node i: a root, unless its unary is 0."""
    i = natural(i)
    value, places_x, places_y = field.samples
    state = field.state
    u = unary_with_seeds(value, state[y, x], places_x[x], places_y[y])
    field.number[y * state.shape[1] + x] = i
    state[y, x] |= NODE if u != 0 else NODE | IDLE
    for k in range(8):
        graph[i + CAPACITY + k] = 0
        graph[i + NEIGHBOUR + k] = 0
    graph[i + X] = x
    graph[i + Y] = y
    graph[i + UNARY] = u
    graph[i + EXCESS] = u
    graph[i + EXPANDED] = 0
    plant(graph, i, u)


@kernel
def plant(graph: Graph, i: int, excess: int) -> None:
    """Make node i a tree of its own, or free."""
    i = natural(i)
    graph[i + TREE] = SOURCE if excess > 0 else (SINK if excess < 0 else FREE)
    graph[i + PARENT] = TERMINAL
    graph[i + STAMP] = 0
    graph[i + DEPTH] = 1
    graph[i + NEXT] = 0


@kernel
def can_expand(field: Field, graph: Graph, i: int) -> bool:
    """Whether the weights around node i are there."""
    row = (graph[i + Y] + field.y0) >> TILE_BITS
    return bool(field.ready[row, (graph[i + X] + field.x0) >> TILE_BITS] == TILE_READY)


@kernel
def expand(field: Field, graph: Graph, i: int, end: int) -> int:
    """Make all neighbours of node i nodes and fill its edges.

    Args:
        field: `can_expand` holds.
        graph: room for eight more nodes.
        i: not expanded.
        end: first unused node.

    Returns:
        The first unused node now.
    """
    i, end = natural(i), natural(end)
    number, store = field.number, field.store
    height, width = field.state.shape
    x, y = natural(graph[i + X]), natural(graph[i + Y])
    base = 4 * ((y + field.y0) * field.image_width + x + field.x0)
    for k in range(8):
        u, v = x + DX[k], y + DY[k]
        if not (0 <= u < width and 0 <= v < height) or graph[i + NEIGHBOUR + k] != 0:
            continue
        q = natural(number[v * width + u])
        if q == 0:
            q = end
            add_node(field, graph, u, v, q)
            end += RECORD
        at = base + (k >> 1)
        if k & 1:  # the weight is stored at the neighbour
            at += 4 * (DY[k] * field.image_width + DX[k])
        weight = store[at]
        graph[i + NEIGHBOUR + k] = q
        graph[i + CAPACITY + k] = weight
        graph[q + NEIGHBOUR + (k ^ 1)] = i
        graph[q + CAPACITY + (k ^ 1)] = weight
    graph[i + EXPANDED] = 1
    return end


@kernel
def renew(field: Field, graph: Graph, end: int) -> None:
    """Bring the nodes of the last solve in line with new unaries, keeping the flow.

    The excess changes by as much as the unary does.
    """
    value, places_x, places_y = field.samples
    state = field.state
    for i in range(RECORD, end, RECORD):
        x, y = natural(graph[i + X]), natural(graph[i + Y])
        u = unary_with_seeds(value, state[y, x], places_x[x], places_y[y])
        graph[i + EXCESS] += u - graph[i + UNARY]
        graph[i + UNARY] = u
        state[y, x] |= NODE


@kernel
def start_search(field: Field, graph: Graph, end: int, progress: NDArray[np.int64]) -> bool:
    """Make each node with excess a tree, and list those next to something of another tree.

    Only there trees can grow or meet. The search relies on this: the tree of the sink can grow from
    active nodes alone. So a pixel of the sink's sign next to a node that is not in its tree must
    become a node as well. (Next to a pixel of the other sign it is one already.)

    Args:
        field: as for `find_contour`; state bytes of nodes now show their excess.
        graph: extended.
        end: first unused node.
        progress: of the search that starts, see `END`.

    Returns:
        Whether the graph has room enough; otherwise `progress` says where it ends now.
    """
    state = field.state
    height, width = state.shape
    for i in range(RECORD, end, RECORD):
        x, y = natural(graph[i + X]), natural(graph[i + Y])
        excess = graph[i + EXCESS]
        plant(graph, i, excess)
        sign = OBJECT if excess > 0 else (0 if excess < 0 else OBJECT | IDLE)
        state[y, x] = (state[y, x] & (SEED | NODE)) | sign
    progress[:] = 0
    last, i = 0, RECORD
    while i < end:
        progress[END] = end
        if end + 8 * RECORD > graph.size:
            return False
        x, y = natural(graph[i + X]), natural(graph[i + Y])
        mine = state[y, x]
        active = False
        for k in range(8):
            u, v = x + DX[k], y + DY[k]
            if not (0 <= u < width and 0 <= v < height):
                continue
            other = state[v, u]
            if not (other ^ mine) & (OBJECT | IDLE):
                continue
            active = True
            if not other & (OBJECT | NODE):
                add_node(field, graph, u, v, end)
                end += RECORD
        if active and not mine & IDLE:
            if last == 0:
                progress[FIRST] = i
            else:
                graph[last + NEXT] = i
            graph[i + NEXT] = i
            last = i
            progress[LAST] = last
        i += RECORD
    progress[END] = end
    return True
