"""Map samples of more than 8 bits to 256 grey levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import ImageError

PERCENTILES = 0.1, 99.9
"""Percentiles of the samples that become 0 and 255."""

MAX_WINDOW = 1e30
"""Maximum absolute value of the ends of a window."""

_ENOUGH_SAMPLES = 2**20
"""Maximum number of samples used; of a larger image, pixels on a regular grid are taken."""

_PIECE = 2**18
"""Samples converted at a time."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which sample values are shown: `low` and below as 0, `high` and above as 255.

    Raises:
        ImageError: not finite, or `high` is not above `low`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        within = all(math.isfinite(v) and abs(v) <= MAX_WINDOW for v in (self.low, self.high))
        if not within or self.low >= self.high:
            raise ImageError(
                f"a window goes from a low to a higher sample value, got {self.low:g} to "
                f"{self.high:g}"
            )


def window_of(samples: NDArray[Any]) -> Window:
    """Return the range of the samples of an image between two percentiles.

    Args:
        samples: (H, W) or (H, W, C), integers or floating-point numbers; all channels together, so
            that colours keep their hue.

    Raises:
        ImageError: no sample is a finite number within `MAX_WINDOW`.
    """
    step = max(1, math.ceil(math.sqrt(samples.size / _ENOUGH_SAMPLES)))
    some = samples[::step, ::step]
    if some.dtype.kind == "f":
        some = some[np.abs(some) <= MAX_WINDOW]  # neither NaN nor infinite
        if not some.size:
            raise ImageError("the image holds no finite numbers")
    low, high = (float(v) for v in np.percentile(some, PERCENTILES, method="nearest"))
    if not low < high:  # of one value nearly everywhere
        low, high = float(some.min()), float(some.max())
    return Window(low, high if low < high else low + max(1.0, 1e-6 * abs(low)))


def shown(samples: NDArray[Any], window: Window, inverted: bool = False) -> NDArray[np.uint8]:
    """Map samples to grey levels: linear within the window, rounded; NaN as its low end.

    Args:
        samples: (H, W) or (H, W, C), integers or floating-point numbers.
        window: see there.
        inverted: `low` becomes 255 and `high` 0.

    Returns:
        uint8 of the same shape, contiguous.
    """
    if samples.dtype.itemsize <= 2 and samples.dtype.kind in "iu":
        info = np.iinfo(samples.dtype)
        table = _levels(np.arange(info.min, info.max + 1), window, inverted)
        table = np.roll(table, info.min)  # by the bits of a sample: negative ones at the end
        bits: NDArray[np.unsignedinteger[Any]] = np.ascontiguousarray(samples).view(
            f"u{samples.dtype.itemsize}"
        )
        return np.asarray(table[bits], np.uint8)
    flat = np.ascontiguousarray(samples).reshape(-1)
    out = np.empty(flat.size, np.uint8)
    for at in range(0, flat.size, _PIECE):
        out[at : at + _PIECE] = _levels(flat[at : at + _PIECE], window, inverted)
    return out.reshape(samples.shape)


def _levels(samples: NDArray[Any], window: Window, inverted: bool) -> NDArray[np.uint8]:
    share = (samples.astype(np.float64) - window.low) / (window.high - window.low)
    share = np.clip(np.nan_to_num(share, nan=0.0), 0, 1)
    return np.asarray(np.rint(255 * (1 - share if inverted else share)), np.uint8)


def over_white(
    levels: NDArray[np.uint8], alpha: NDArray[np.float32], premultiplied: bool = False
) -> NDArray[np.uint8]:
    """Compose an image over white.

    Args:
        levels: (H, W, C) uint8.
        alpha: (H, W) float32, its opacity, 0 to 1.
        premultiplied: the levels are multiplied by it already.

    Returns:
        (H, W, C) uint8.
    """
    out = np.empty_like(levels)
    rows = max(1, _PIECE // max(1, levels[0].size))
    for at in range(0, len(levels), rows):
        opacity = alpha[at : at + rows, :, None]
        part = levels[at : at + rows].astype(np.float32)
        over = part if premultiplied else opacity * part
        out[at : at + rows] = np.clip(np.rint(over + 255 * (1 - opacity)), 0, 255)
    return out
