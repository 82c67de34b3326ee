"""Which sign the unary of each pixel has, and where signs meet, block by block.

Interpolation stays between the samples of the network. So a *block* of pixels whose samples, with
those of the pixels around it, have one sign is filled without computing a unary in it, and holds no
pixel next to one of the other sign.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.cut.problem import OBJECT, Samples, unary_at

BLOCK = 8
"""Side of a block, pixels."""

_NEGATIVE, _OBJECT = 1, 2
"""Which signs there are, as bits."""


def blocks_of(width: int, height: int) -> int:
    """How many blocks a region has."""
    return -(-width // BLOCK) * -(-height // BLOCK)


@njit(cache=True, nogil=True)
def classify(
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
