"""Edge weights of an image: B of equation 5, computed once, where they are needed."""

from __future__ import annotations

import math
import mmap
import threading

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.memory import reserve
from clickcut.cut.problem import AXIS, DX, DY
from clickcut.errors import CutError
from clickcut.kernels import kernel
from clickcut.region import Region

TILE_BITS = 5
TILE = 1 << TILE_BITS
"""Weights are computed in tiles of this side, pixels."""

TILE_MISSING, TILE_READY, TILE_LISTED = 0, 1, 2
"""States of a tile: not computed; computed; in a list of tiles to compute, see `missing_tiles`."""

SAMPLED_PIXELS = 2**20
"""Sigma is estimated from about this many pixels, in whole rows."""

MIN_SIGMA = 1.0
"""Minimum estimate of sigma: one grey level, so that a flat image with a few noisy pixels is not
cut along rounding errors."""

_LARGEST = 3 * 255 * 255


class EdgeWeights:
    """Weights between neighbouring pixels, shared by all cuts on an image; thread-safe.

    Pixel (x, y) stores four int32 weights in capacity units: to its neighbours E, S, SE and SW
    (0 where there is none). They are computed in tiles on demand. The array is reserved for the
    whole image, but the system gives it memory page by page, where tiles have been written.

    Args:
        image: (H, W, 3) uint8, RGB. It is kept, not copied (if contiguous): do not change it.
        sigma: of the contrast term, grey levels, > 0; None = root mean squared colour difference
            of neighbours.

    Attributes:
        image: (H, W, 3) uint8, contiguous.
        sigma: in force.
        store: (H * W * 4,) int32, the weights; entry 4 (y W + x) + k. Valid in computed tiles.
        tiles: (rows, columns) of the grid of tiles.

    Raises:
        CutError: invalid image or sigma.
    """

    def __init__(self, image: NDArray[np.uint8], sigma: float | None = None) -> None:
        self.image = _checked(image)
        height, width = self.image.shape[:2]
        if sigma is None:
            sigma = _estimate_sigma(self.image)
        elif not (math.isfinite(sigma) and sigma > 0):
            raise CutError(f"sigma must be a finite number > 0, got {sigma}; None estimates it")
        self.sigma = float(sigma)
        self.tiles = -(-height // TILE), -(-width // TILE)
        self._table = _weight_table(self.sigma)
        self._lock = threading.Lock()
        self._ready = np.zeros(self.tiles, np.uint8)
        self.store = reserve(height * width * 4)
        self._pages = np.zeros(self.store.nbytes // mmap.PAGESIZE + 1, np.uint8)

    def ensure(self, wanted: NDArray[np.int32], ready: NDArray[np.uint8]) -> None:
        """Compute tiles that are missing.

        Args:
            wanted: (N,) int32, tiles, counted row by row.
            ready: (tile rows, tile columns) uint8; becomes TILE_READY where weights may be read.
                The caller's copy: flags of another thread, read without its lock, guarantee nothing
                about the weights.
        """
        with self._lock:
            _fill_tiles(
                self.image, self._table, wanted, self._ready, self.store, self._pages, mmap.PAGESIZE
            )
            ready[:] = self._ready

    def dense(self, region: Region) -> NDArray[np.int32]:
        """Return all weights of a region, a copy: (h, w, 4) int32; those that leave it are 0."""
        rows = np.arange(region.y0 >> TILE_BITS, ((region.y1 - 1) >> TILE_BITS) + 1)
        columns = np.arange(region.x0 >> TILE_BITS, ((region.x1 - 1) >> TILE_BITS) + 1)
        wanted = (rows[:, None] * self.tiles[1] + columns).astype(np.int32).reshape(-1)
        self.ensure(wanted, np.empty(self.tiles, np.uint8))
        whole = self.store.reshape(*self.image.shape[:2], 4)
        out = whole[region.slices].copy()
        out[:, -1, 0::2] = 0  # E, SE
        out[-1, :, 1:] = 0  # S, SE, SW
        out[:, 0, 3] = 0  # SW
        return out

    @property
    def nbytes(self) -> int:
        """Memory in bytes: the pages of computed weights, and the tables."""
        pages = int(np.count_nonzero(self._pages)) * mmap.PAGESIZE
        return (
            min(pages, self.store.nbytes)
            + self._pages.nbytes
            + self._table.nbytes
            + self._ready.nbytes
        )


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or image.size == 0
    ):
        found = (
            f"shape {image.shape}, dtype {image.dtype}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise CutError(f"the image must be an (H, W, 3) uint8 array with pixels, got {found}")
    return np.ascontiguousarray(image)


def _weight_table(sigma: float) -> NDArray[np.int32]:
    """Return the weight by squared colour difference: (N, 2) int32, axis and diagonal neighbours.

    The last row is 0 and stands for all larger differences.
    """
    doubled = max(2.0 * sigma * sigma, 1e-6)  # smaller ones give the same table
    count = int(min(_LARGEST + 1, doubled * math.log(4.0 * AXIS) + 2))
    fall = np.exp(-np.arange(count + 1) / doubled)
    table: NDArray[np.int32] = np.rint(
        fall[:, None] * np.array([AXIS, AXIS / math.sqrt(2.0)])
    ).astype(np.int32)
    table[-1] = 0
    return table


def _estimate_sigma(image: NDArray[np.uint8]) -> float:
    step = max(1, image.shape[0] * image.shape[1] // SAMPLED_PIXELS)
    total, count = _squared_differences(image.reshape(image.shape[0], -1), step)
    return max(MIN_SIGMA, math.sqrt(total / count)) if count else MIN_SIGMA


@kernel
def _squared_differences(rows: NDArray[np.uint8], step: int) -> tuple[int, int]:
    """Return sum and number of squared colour differences of neighbours, every `step`-th row.

    Args:
        rows: (H, 3 W) uint8: samples are compared along whole rows, many at once.
        step: 1 or more.
    """
    height, samples = rows.shape
    total, count = 0, 0
    for y in range(0, height, step):
        for k in range(0, 8, 2):
            v = y + DY[k]
            if v >= height:
                continue
            shift = 3 * DX[k]
            length = samples - abs(shift)
            here = rows[y, max(0, -shift) : max(0, -shift) + length]
            there = rows[v, max(0, shift) : max(0, shift) + length]
            for n in range(length):
                d = int(here[n]) - int(there[n])
                total += d * d
            count += length // 3
    return total, count


@kernel
def _fill_tiles(
    image: NDArray[np.uint8],
    table: NDArray[np.int32],
    wanted: NDArray[np.int32],
    ready: NDArray[np.uint8],
    store: NDArray[np.int32],
    pages: NDArray[np.uint8],
    page_size: int,
) -> None:
    """Compute the wanted tiles that are not ready.

    A tile is filled with a margin of one pixel above, left and right, so that all eight weights of
    each of its pixels are there. Margins are written again by the neighbouring tile, with the same
    values, so a reader of a ready tile never sees a change.
    """
    height, width, _ = image.shape
    across = ready.shape[1]
    for n in range(wanted.size):
        j, i = wanted[n] // across, wanted[n] % across
        if ready[j, i] == TILE_READY:
            continue
        xa, xb = max(0, i * TILE - 1), min(width, (i + 1) * TILE + 1)
        ya, yb = max(0, j * TILE - 1), min(height, (j + 1) * TILE)
        for y in range(ya, yb):
            _fill_row(image, table, store, y, xa, xb)
            first = (y * width + xa) * 16 // page_size
            last = ((y * width + xb) * 16 - 1) // page_size
            for page in range(first, last + 1):
                pages[page] = 1
        ready[j, i] = TILE_READY


@kernel
def _fill_row(
    image: NDArray[np.uint8],
    table: NDArray[np.int32],
    store: NDArray[np.int32],
    y: int,
    xa: int,
    xb: int,
) -> None:
    """Compute the weights of pixels xa..xb-1 of row y."""
    height, width, _ = image.shape
    beyond = table.shape[0] - 1
    for k in range(0, 8, 2):
        dx, v = DX[k], y + DY[k]
        kind = 1 if k >= 4 else 0
        for x in range(xa, xb):
            weight = 0
            if v < height and 0 <= x + dx < width:
                d2 = 0
                for c in range(3):
                    d = int(image[y, x, c]) - int(image[v, x + dx, c])
                    d2 += d * d
                weight = table[min(d2, beyond), kind]
            store[4 * (y * width + x) + (k >> 1)] = weight


@kernel
def missing_tiles(
    pixels: NDArray[np.int32],
    x0: int,
    y0: int,
    ready: NDArray[np.uint8],
    tiles: NDArray[np.int32],
) -> int:
    """Collect the tiles of pixels whose weights are missing; return their number.

    Args:
        pixels: (N, 2) int32, x and y in the region.
        x0: left column of the region in the image.
        y0: top row of the region in the image.
        ready: see `EdgeWeights.ensure`; missing tiles become TILE_LISTED, so that each is listed
            once.
        tiles: (M,) int32, room for all tiles; filled.
    """
    found = 0
    for n in range(pixels.shape[0]):
        i, j = (pixels[n, 0] + x0) >> TILE_BITS, (pixels[n, 1] + y0) >> TILE_BITS
        if ready[j, i] == TILE_MISSING:
            ready[j, i] = TILE_LISTED
            tiles[found] = j * ready.shape[1] + i
            found += 1
    return found
