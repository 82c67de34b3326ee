"""Which sign the unary of each pixel has, and where signs meet, block by block.

Interpolation stays between the samples of the network. So a *block* of pixels whose samples, with
those of the pixels around it, have one sign is filled without computing a unary in it, and holds no
pixel next to one of the other sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.graph import RECORD, Field, Graph, add_node, natural
from clickcut.cut.problem import DX, DY, NODE, OBJECT, Samples, unary_at
from clickcut.kernels import kernel

BLOCK = 8
"""Side of a block, pixels."""

_NEGATIVE, _OBJECT = 1, 2
"""Which signs there are, as bits."""


def blocks_of(width: int, height: int) -> int:
    """How many blocks a region has."""
    return -(-width // BLOCK) * -(-height // BLOCK)


@kernel
def sweep(
    samples: Samples,
    state: NDArray[np.uint8],
    mixed: NDArray[np.int32],
    signs: NDArray[np.uint8],
) -> int:
    """Set OBJECT where the unary is >= 0 (seeds not considered).

    Args:
        samples: of the region.
        state: (h, w) uint8, zeros; updated.
        mixed: (N, 4) int32, room for all blocks; filled with those that hold all pixels next to a
            pixel of the other sign, as rectangles x0, y0, x1, y1 (half open).
        signs: (S + 1,) uint8, scratch.

    Returns:
        How many blocks.
    """
    height, width = state.shape
    value, places_x, places_y = samples
    found = 0
    for y0 in range(0, height, BLOCK):
        y1 = min(height, y0 + BLOCK)
        signs[:] = 0
        for j in range(int(places_y[max(0, y0 - 1)]), int(places_y[min(height - 1, y1)]) + 2):
            for i in range(signs.size):
                signs[i] |= _NEGATIVE if value[j, i] < 0.0 else _OBJECT
        for x0 in range(0, width, BLOCK):
            x1 = min(width, x0 + BLOCK)
            kind = 0
            for i in range(int(places_x[max(0, x0 - 1)]), int(places_x[min(width - 1, x1)]) + 2):
                kind |= signs[i]
            if kind == _OBJECT:
                for y in range(y0, y1):
                    state[y, x0:x1] = OBJECT
            elif kind != _NEGATIVE:
                for y in range(y0, y1):
                    for x in range(x0, x1):
                        is_object = unary_at(value, places_x[x], places_y[y]) >= 0
                        state[y, x] = OBJECT if is_object else 0
                mixed[found, 0], mixed[found, 1] = x0, y0
                mixed[found, 2], mixed[found, 3] = x1, y1
                found += 1
    return found


@kernel
def find_contour(
    field: Field, graph: Graph, mixed: NDArray[np.int32], rectangles: int, end: int
) -> int:
    """Make every pixel a node that has a neighbour of the other sign.

    Args:
        field: signs and seeds are set; existing nodes too keep the sign of their unary.
        graph: extended.
        mixed: (M, 4) int32, rectangles to look at; of each differing pair one pixel is inside.
        rectangles: how many of them.
        end: first unused node.

    Returns:
        The first unused node now; its negative when the graph has too little room to finish.
    """
    state = field.state
    height, width = state.shape
    for n in range(rectangles):
        x0, y0 = natural(mixed[n, 0]), natural(mixed[n, 1])
        x1, y1 = int(mixed[n, 2]), int(mixed[n, 3])
        for y in range(y0, y1):
            for x in range(x0, x1):
                mine = state[y, x]
                if 0 < x < width - 1 and 0 < y < height - 1:
                    any_object, all_object = mine, mine
                    for v in range(y - 1, y + 2):
                        a, b, c = state[v, x - 1], state[v, x], state[v, x + 1]
                        any_object |= a | b | c
                        all_object &= a & b & c
                    if not (any_object ^ all_object) & OBJECT:
                        continue
                if end + 9 * RECORD > graph.size:
                    return -end
                for k in range(8):
                    u, v = x + DX[k], y + DY[k]
                    if not (0 <= u < width and 0 <= v < height):
                        continue
                    other = state[v, u]
                    if not (other ^ mine) & OBJECT:
                        continue
                    if not other & NODE:
                        add_node(field, graph, u, v, end)
                        end += RECORD
                    if not state[y, x] & NODE:
                        add_node(field, graph, x, y, end)
                        end += RECORD
    return end
