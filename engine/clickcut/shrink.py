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
from clickcut.scales import Reduced

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
    box = float(region.x0), float(region.y0), float(region.width), float(region.height)
    return shrink_box(pixels, box, (size, size))


def shrink_box(
    pixels: NDArray[np.uint8], box: tuple[float, float, float, float], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a box averaged to a shape, (rows, columns, 3) uint8.

    Args:
        pixels: (H, W, 3) uint8, contiguous; border pixels are repeated beyond the picture.
        box: left, top, width and height in pixels, which need not be whole; left and top lie in
            the picture; at least one pixel of the picture per pixel of the result.
        shape: rows and columns of the result.
    """
    left, _, width, _ = box
    out = np.empty((*shape, 3), np.uint8)
    columns = min(math.ceil(left + width), pixels.shape[1]) - math.floor(left)
    sums = np.empty(3 * columns, np.float32)
    _average(pixels.reshape(pixels.shape[0], -1), box, sums, out)
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


def mean_of_large_blocks(reduced: Reduced, height: int, width: int, side: int) -> NDArray[np.uint8]:
    """Return the mean of each block of `side` x `side` pixels of an image that was reduced.

    As `mean_of_blocks` of the image, but for what the codec's own reduction differs from a mean.

    Args:
        reduced: of the image.
        height: of the image, pixels.
        width: of the image, pixels.
        side: at least the factor of the reduction.
    """
    rows, columns = -(-height // side), -(-width // side)
    box = reduced.box_of(Region(0, 0, columns * side, rows * side))
    return shrink_box(reduced.pixels, box, (rows, columns))


@kernel
def _average(
    rows: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    sums: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    """Average a box.

    Args:
        rows: (H, 3 W) uint8.
        box: left, top, width and height, pixels.
        sums: (3 w,) float32 for w columns that the box touches inside the picture; scratch.
        out: (n, m, 3) uint8; filled.
    """
    first_x, first_y = math.floor(box[0]), math.floor(box[1])
    # Relative to the first pixel that the box touches: exact for boxes of whole pixels.
    x0, y0, width, height = box[0] - first_x, box[1] - first_y, box[2], box[3]
    last_row, last_column = rows.shape[0] - 1, sums.size // 3 - 1
    for j in range(out.shape[0]):
        top = y0 + j * height / out.shape[0]
        bottom = y0 + min((j + 1) * height / out.shape[0], height)
        for n in range(sums.size):
            sums[n] = 0
        for y in range(math.floor(top), math.ceil(bottom)):
            part = min(y + 1.0, bottom) - max(float(y), top)
            if part < _NEGLIGIBLE:
                continue
            weight = np.float32(part / (bottom - top))
            row = rows[min(first_y + y, last_row), 3 * first_x : 3 * first_x + sums.size]
            for n in range(sums.size):
                sums[n] += weight * np.float32(row[n])
        for i in range(out.shape[1]):
            left = x0 + i * width / out.shape[1]
            right = x0 + min((i + 1) * width / out.shape[1], width)
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            for x in range(math.floor(left), math.ceil(right)):
                part = min(x + 1.0, right) - max(float(x), left)
                if part < _NEGLIGIBLE:
                    continue
                weight = np.float32(part / (right - left))
                column = min(x, last_column)
                red += weight * sums[3 * column]
                green += weight * sums[3 * column + 1]
                blue += weight * sums[3 * column + 2]
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
