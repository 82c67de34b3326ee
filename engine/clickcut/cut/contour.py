"""Which sign the unary of each pixel has, and where signs meet, cell by cell.

A *cell* lies between four samples of the network. Interpolation stays between the samples, so a
cell of one sign is filled without computing a unary in it.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.cut.problem import OBJECT, Samples, unary_at


@njit(cache=True, nogil=True)
def classify(samples: Samples, state: NDArray[np.uint8], mixed: NDArray[np.int32]) -> int:
    """Set OBJECT where the unary is >= 0 (seeds not considered), cell by cell.

    Args:
        samples: of the region.
        state: (h, w) uint8, zeros; updated.
        mixed: (N, 4) int32; filled with rectangles x0, y0, x1, y1 (half open) that hold all pixels
            next to a pixel of the other sign, up to the neighbours of their own pixels.

    Returns:
        How many rectangles.
    """
    height, width = state.shape
    value, places_x, places_y = samples
    if width < value.shape[1] - 1 or height < value.shape[0] - 1:
        # Neighbouring pixels may skip cells: look at each pixel.
        mixed[0, 0], mixed[0, 1], mixed[0, 2], mixed[0, 3] = 0, 0, width, height
        _signs(value, places_x, places_y, state, 0, 0, width, height)
        return 1
    found, y0 = 0, 0
    while y0 < height:
        j, y1 = int(places_y[y0]), y0 + 1
        while y1 < height and int(places_y[y1]) == j:
            y1 += 1
        x0 = 0
        kind = _cell(value, j, 0)
        while x0 < width:
            x1, i, following = x0 + 1, int(places_x[x0]), kind
            while x1 < width:
                if int(places_x[x1]) != i:
                    i = int(places_x[x1])
                    following = _cell(value, j, i)
                    if following != kind:
                        break
                x1 += 1
            if kind == 1:
                for y in range(y0, y1):
                    state[y, x0:x1] = OBJECT
            elif kind == 2:
                _signs(value, places_x, places_y, state, x0, y0, x1, y1)
                mixed[found, 0], mixed[found, 1] = x0, y0
                mixed[found, 2], mixed[found, 3] = x1, y1
                found += 1
            x0, kind = x1, following
        y0 = y1
    return found


@njit(cache=True, nogil=True)
def _cell(value: NDArray[np.float64], j: int, i: int) -> int:
    """Sign of a cell: 0 all four samples < 0, 1 none < 0, 2 mixed."""
    above = (value[j, i] >= 0.0) + (value[j, i + 1] >= 0.0)
    below = (value[j + 1, i] >= 0.0) + (value[j + 1, i + 1] >= 0.0)
    return 0 if above + below == 0 else (1 if above + below == 4 else 2)


@njit(cache=True, nogil=True)
def _signs(
    value: NDArray[np.float64],
    places_x: NDArray[np.float64],
    places_y: NDArray[np.float64],
    state: NDArray[np.uint8],
    x0: int,
    y0: int,
    x1: int,
    y1: int,
) -> None:
    for y in range(y0, y1):
        for x in range(x0, x1):
            state[y, x] = OBJECT if unary_at(value, places_x[x], places_y[y]) >= 0 else 0
