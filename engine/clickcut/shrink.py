"""Shrink photographs by averaging, several times as fast as OpenCV where they are large.

Rows are added up first, which the processor does for many samples at once, and only the sums are
averaged along the row; `cv2.resize` with `INTER_AREA` goes along every row, sample by sample.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.kernels import kernel
from clickcut.region import Region

MIN_REDUCTION = 9.0
"""Image pixels per pixel of the result from which `shrink` is faster than OpenCV."""

_MAX_SIDE = 257
"""Maximum side of a block whose samples fit into 16 bits when added up along a column."""

_NEGLIGIBLE = 1e-3
"""Part of a pixel that counts as none, as in OpenCV."""


def shrink(pixels: NDArray[np.uint8], region: Region, size: int) -> NDArray[np.uint8]:
    """Return a region averaged to `size` x `size` pixels, (size, size, 3) uint8.

    As `cv2.resize` with `INTER_AREA`; a few values in a million differ by 1, because sums are
    rounded in another order.

    Args:
        pixels: (H, W, 3) uint8, contiguous.
        region: inside; at least `size` pixels along each side.
        size: of the result, pixels.
    """
    out = np.empty((size, size, 3), np.uint8)
    sums = np.empty(3 * region.width, np.float32)
    rows = pixels.reshape(pixels.shape[0], -1)
    _average(rows, region.x0, region.y0, region.height, sums, out)
    return out


def mean_of_blocks(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the mean of each block of `side` x `side` pixels, (h, w, 3) uint8.

    Where a size is not a multiple of the side, the border pixels are repeated. The same, bit for
    bit, as OpenCV's.

    Args:
        pixels: (H, W, 3) uint8, contiguous.
        side: 2 or more.
    """
    height, width = -(-pixels.shape[0] // side), -(-pixels.shape[1] // side)
    if side > 2 and side <= _MAX_SIDE:
        out = np.empty((height, width, 3), np.uint8)
        sums = np.empty(3 * pixels.shape[1], np.uint16)
        _average_blocks(pixels.reshape(pixels.shape[0], -1), side, sums, out)
        return out
    below, beside = height * side - pixels.shape[0], width * side - pixels.shape[1]
    if below or beside:
        pixels = np.asarray(
            cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8
        )
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@kernel
def _average(
    rows: NDArray[np.uint8],
    x0: int,
    y0: int,
    height: int,
    sums: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    """Average a region.

    Args:
        rows: (H, 3 W) uint8.
        x0: first column of the region.
        y0: first row of the region.
        height: of the region, pixels.
        sums: (3 w,) float32 for w columns of the region; scratch.
        out: (n, m, 3) uint8; filled.
    """
    width = sums.size // 3
    for j in range(out.shape[0]):
        top, bottom = j * height / out.shape[0], min((j + 1) * height / out.shape[0], height)
        for n in range(sums.size):
            sums[n] = 0
        for y in range(math.floor(top), min(math.ceil(bottom), height)):
            part = min(y + 1.0, bottom) - max(float(y), top)
            if part < _NEGLIGIBLE:
                continue
            weight = np.float32(part / (bottom - top))
            row = rows[y0 + y, 3 * x0 : 3 * x0 + sums.size]
            for n in range(sums.size):
                sums[n] += weight * np.float32(row[n])
        for i in range(out.shape[1]):
            left, right = i * width / out.shape[1], min((i + 1) * width / out.shape[1], width)
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            for x in range(math.floor(left), min(math.ceil(right), width)):
                part = min(x + 1.0, right) - max(float(x), left)
                if part < _NEGLIGIBLE:
                    continue
                weight = np.float32(part / (right - left))
                red += weight * sums[3 * x]
                green += weight * sums[3 * x + 1]
                blue += weight * sums[3 * x + 2]
            # Weights may add up to slightly more than 1.
            out[j, i, 0] = np.uint8(min(np.rint(red), np.float32(255)))
            out[j, i, 1] = np.uint8(min(np.rint(green), np.float32(255)))
            out[j, i, 2] = np.uint8(min(np.rint(blue), np.float32(255)))


@kernel
def _average_blocks(
    rows: NDArray[np.uint8], side: int, sums: NDArray[np.uint16], out: NDArray[np.uint8]
) -> None:
    """Average blocks.

    Args:
        rows: (H, 3 W) uint8.
        side: of a block, pixels; at most 257.
        sums: (3 W,) uint16; scratch.
        out: (ceil(H / side), ceil(W / side), 3) uint8; filled.
    """
    height, width = rows.shape[0], sums.size // 3
    scale = np.float32(1) / np.float32(side * side)
    for j in range(out.shape[0]):
        for n in range(sums.size):
            sums[n] = 0
        for k in range(side):
            row = rows[min(j * side + k, height - 1)]
            for n in range(sums.size):
                sums[n] += row[n]
        for i in range(out.shape[1]):
            for c in range(3):
                total = 0
                for k in range(side):
                    total += sums[3 * min(i * side + k, width - 1) + c]
                out[j, i, c] = np.uint8(np.rint(np.float32(total) * scale))
