"""Resampling between an image, its regions and the network's square."""

from __future__ import annotations

from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.region import Region

_Array = TypeVar("_Array", NDArray[np.uint8], NDArray[np.float32])


def resize(array: _Array, size: int) -> _Array:
    """Resample (H, W) or (H, W, 3) to `size` x `size`: area average to shrink, bilinear to grow."""
    shrinks = array.shape[0] >= size and array.shape[1] >= size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cast("_Array", cv2.resize(array, (size, size), interpolation=how))


def enlarge_box(
    pixels: NDArray[np.uint8], box: tuple[float, float, float, float], size: int
) -> NDArray[np.uint8]:
    """Return a box of a picture enlarged, (size, size, 3) uint8, bilinear.

    Args:
        pixels: (H, W, 3) uint8; border pixels are repeated beyond the picture.
        box: left, top, width and height in pixels, which need not be whole.
        size: of the result, pixels.
    """
    left, top, width, height = box
    ax, ay = width / size, height / size
    at = np.array([[ax, 0, left + 0.5 * ax - 0.5], [0, ay, top + 0.5 * ay - 0.5]])
    return np.asarray(
        cv2.warpAffine(
            pixels,
            at,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )


def move(
    values: NDArray[np.float32],
    source: Region,
    target: Region,
    outside: float | None,
    shape: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Resample a map over one region to another region, bilinear.

    Args:
        values: (h, w) float32 over `source`.
        source: region that it covers, image pixels.
        target: region wanted; may reach beyond the source.
        outside: value beyond the source; None = that of the nearest border.
        shape: of the result; None = (h, w).

    Returns:
        float32 over `target`; `values` itself when regions and shapes are the same.
    """
    size_y, size_x = values.shape
    height, width = shape or values.shape
    if source == target and (height, width) == values.shape:
        return values
    # element of the target -> element of the source, through image coordinates
    per_x, per_y = size_x / source.width, size_y / source.height
    ax, ay = per_x * target.width / width, per_y * target.height / height
    bx = (target.x0 - source.x0) * per_x + 0.5 * ax - 0.5
    by = (target.y0 - source.y0) * per_y + 0.5 * ay - 0.5
    moved = cv2.warpAffine(
        values,
        np.array([[ax, 0, bx], [0, ay, by]]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT,
        borderValue=outside or 0.0,
    )
    return np.asarray(moved, np.float32)
