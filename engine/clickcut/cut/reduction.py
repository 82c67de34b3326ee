"""The exact reduction: labels that every solution shares, found without max-flow.

Call a set A of pixels with unary >= 0 *closed* when each of its pixels has
unary >= sum of its weights to pixels outside A. Then all of A is object in the mask that is
looked for (the minimum cut with most object pixels): turning the background pixels X of A into
object gains at least sum over X of (unary - weights from X to outside A) >= 0. In the same way a
set B of pixels with unary < 0 is background in every minimum cut when -unary > its weights out of B.

The largest closed sets are what is left when pixels that break the condition are taken away until
none does (*peeling*). That starts at the pixels next to the other sign, so only a band along the
zero contour of the unaries is ever visited: no threshold on the unaries is needed, and a cell
between four samples of one sign costs no more than filling it. What is peeled is the core.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.cut.problem import CORE, DX, DY, OBJECT, TOUCHED, Samples, unary_with_seeds
from clickcut.cut.weights import TILE_BITS

DONE, NEEDS_TILE, NEEDS_ROOM = 0, 1, 2
"""Why `peel` returned."""


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
    value = samples.value
    if width < value.shape[1] or height < value.shape[0]:
        # Neighbouring pixels may skip cells: look at each pixel.
        mixed[0, 0], mixed[0, 1], mixed[0, 2], mixed[0, 3] = 0, 0, width, height
        _signs(samples, state, 0, 0, width, height)
        return 1
    found, y0 = 0, 0
    while y0 < height:
        j, y1 = samples.row[y0], y0 + 1
        while y1 < height and samples.row[y1] == j:
            y1 += 1
        x0 = 0
        while x0 < width:
            kind = _cell(value, j, samples.column[x0])
            x1 = x0 + 1
            while x1 < width and (
                samples.column[x1] == samples.column[x1 - 1]
                or _cell(value, j, samples.column[x1]) == kind
            ):
                x1 += 1
            if kind == 1:
                for y in range(y0, y1):
                    state[y, x0:x1] = OBJECT
            elif kind == 2:
                _signs(samples, state, x0, y0, x1, y1)
                mixed[found, 0], mixed[found, 1] = x0, y0
                mixed[found, 2], mixed[found, 3] = x1, y1
                found += 1
            x0 = x1
        y0 = y1
    return found


@njit(cache=True, nogil=True, inline="always")
def _cell(value: NDArray[np.float64], j: int, i: int) -> int:
    """Sign of a cell: 0 all four samples < 0, 1 none < 0, 2 mixed."""
    above = (value[j, i] >= 0.0) + (value[j, i + 1] >= 0.0)
    below = (value[j + 1, i] >= 0.0) + (value[j + 1, i + 1] >= 0.0)
    return (0, 2, 2, 2, 1)[above + below]


@njit(cache=True, nogil=True)
def _signs(
    samples: Samples, state: NDArray[np.uint8], x0: int, y0: int, x1: int, y1: int
) -> None:
    for y in range(y0, y1):
        for x in range(x0, x1):
            state[y, x] = OBJECT if unary_with_seeds(samples, 0, x, y) >= 0 else 0


@njit(cache=True, nogil=True)
def find_contour(
    state: NDArray[np.uint8], mixed: NDArray[np.int32], count: int, visited: NDArray[np.int32]
) -> int:
    """Collect the pixels that have a neighbour of the other sign, and set TOUCHED for them.

    Args:
        state: (h, w) uint8; updated.
        mixed: (N, 4) int32, rectangles to look at; of each differing pair one pixel is inside.
        count: how many of them.
        visited: (M,) int32; filled with pixels y w + x.

    Returns:
        How many pixels; -1 when there is no room for them (then no TOUCHED is set).
    """
    height, width = state.shape
    found = 0
    for n in range(count):
        x0, y0, x1, y1 = mixed[n, 0], mixed[n, 1], mixed[n, 2], mixed[n, 3]
        for y in range(y0, y1):
            for x in range(x0, x1):
                if found + 9 > visited.size:
                    for m in range(found):
                        state[visited[m] // width, visited[m] % width] &= 255 - TOUCHED
                    return -1
                mine = state[y, x] & OBJECT
                for k in range(8):
                    u, v = x + DX[k], y + DY[k]
                    if not (0 <= u < width and 0 <= v < height):
                        continue
                    if state[v, u] & OBJECT == mine:
                        continue
                    if not state[v, u] & TOUCHED:
                        state[v, u] |= TOUCHED
                        visited[found] = v * width + u
                        found += 1
                    if not state[y, x] & TOUCHED:
                        state[y, x] |= TOUCHED
                        visited[found] = y * width + x
                        found += 1
    return found


@njit(cache=True, nogil=True)
def missing_tiles(
    pixels: NDArray[np.int32],
    count: int,
    width: int,
    x0: int,
    y0: int,
    ready: NDArray[np.uint8],
    tiles: NDArray[np.int32],
) -> int:
    """Collect the tiles of pixels whose weights are not there; returns how many.

    Args:
        pixels: (N,) int32, y width + x in the region.
        count: how many of them.
        width: of the region.
        x0: left column of the region in the image.
        y0: top row of the region in the image.
        ready: see `EdgeWeights.ensure`; missing tiles become 2, so that each is listed once.
        tiles: (M,) int32, room for all tiles; filled.
    """
    found = 0
    for n in range(count):
        j = (pixels[n] // width + y0) >> TILE_BITS
        i = (pixels[n] % width + x0) >> TILE_BITS
        if ready[j, i] == 0:
            ready[j, i] = 2
            tiles[found] = j * ready.shape[1] + i
            found += 1
    return found


@njit(cache=True, nogil=True, inline="always")
def _margin(samples: Samples, state: int, x: int, y: int) -> int:
    """By how much the unary holds its pixel; the pixel breaks the condition when it is < 0."""
    u = unary_with_seeds(samples, state, x, y)
    return u if state & OBJECT else -1 - u


@njit(cache=True, nogil=True)
def start_margins(
    samples: Samples,
    state: NDArray[np.uint8],
    x0: int,
    y0: int,
    store: NDArray[np.int32],
    image_width: int,
    visited: NDArray[np.int32],
    count: int,
    margin: NDArray[np.int32],
    stack: NDArray[np.int32],
) -> int:
    """Margins of the contour pixels: unary less weights to the other sign.

    Args:
        samples: of the region.
        state: (h, w) uint8.
        x0: left column of the region in the image.
        y0: top row of the region in the image.
        store: see `EdgeWeights`.
        image_width: columns of the image.
        visited: (M,) int32, the contour pixels.
        count: how many of them.
        margin: (h * w,) int32; filled for them.
        stack: (M,) int32; filled with those that break the condition.

    Returns:
        How many of those there are.
    """
    height, width = state.shape
    top = 0
    for n in range(count):
        p = np.int64(visited[n])
        y = p // width
        x = p - y * width
        mine = state[y, x]
        rest = _margin(samples, mine, x, y)
        for k in range(8):
            u, v = x + DX[k], y + DY[k]
            inside = 0 <= u < width and 0 <= v < height
            if inside and (state[v, u] ^ mine) & OBJECT:
                rest -= _weight(store, image_width, x + x0, y + y0, k)
        margin[p] = rest
        if rest < 0:
            stack[top] = p
            top += 1
    return top


@njit(cache=True, nogil=True, inline="always")
def _weight(store: NDArray[np.int32], image_width: int, x: int, y: int, k: int) -> int:
    """Weight from image pixel (x, y) in direction k."""
    if k & 1:  # stored at the neighbour
        x, y = x + DX[k], y + DY[k]
    return store[4 * (y * image_width + x) + (k >> 1)]


@njit(cache=True, nogil=True)
def peel(
    samples: Samples,
    state: NDArray[np.uint8],
    x0: int,
    y0: int,
    store: NDArray[np.int32],
    ready: NDArray[np.uint8],
    image_width: int,
    visited: NDArray[np.int32],
    margin: NDArray[np.int32],
    stack: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> int:
    """Peel until the condition holds everywhere; sets CORE. Can be called again to go on.

    Args:
        samples: of the region.
        state: (h, w) uint8; updated.
        x0: left column of the region in the image.
        y0: top row of the region in the image.
        store: see `EdgeWeights`.
        ready: tiles that may be read, see `EdgeWeights.ensure`.
        image_width: columns of the image.
        visited: (M,) int32, every pixel with TOUCHED; extended.
        margin: (h * w,) int32, of the TOUCHED pixels; updated.
        stack: (M,) int32, pixels that break the condition; empty at the end.
        counts: (2,) int64, entries of `visited` and of `stack`; updated.

    Returns:
        DONE; NEEDS_TILE: a pixel on the stack lies in a tile that is not ready; NEEDS_ROOM:
        `visited` and `stack` must be longer.
    """
    height, width = state.shape
    seen, top = counts[0], counts[1]
    outcome = DONE
    while top > 0:
        p = np.int64(stack[top - 1])
        y = p // width
        x = p - y * width
        if ready[(y + y0) >> TILE_BITS, (x + x0) >> TILE_BITS] != 1:
            outcome = NEEDS_TILE
            break
        if seen + 8 > visited.size or top + 8 > stack.size:
            outcome = NEEDS_ROOM
            break
        top -= 1
        state[y, x] |= CORE
        mine = state[y, x] & OBJECT
        for k in range(8):
            u, v = x + DX[k], y + DY[k]
            if not (0 <= u < width and 0 <= v < height):
                continue
            other = state[v, u]
            if (other & (OBJECT | CORE)) != mine:
                continue
            w = _weight(store, image_width, x + x0, y + y0, k)
            if w == 0:
                continue
            q = v * width + u
            if not other & TOUCHED:
                state[v, u] = other | TOUCHED
                margin[q] = _margin(samples, other, u, v)
                visited[seen] = q
                seen += 1
            before = margin[q]
            margin[q] = before - w
            if before >= 0 and before < w:
                stack[top] = q
                top += 1
    counts[0], counts[1] = seen, top
    return outcome
