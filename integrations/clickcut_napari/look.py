"""What a plane looks like on the screen: contrast limits, gamma and colour map applied.

The engine is given what a person sees and clicks on, not the samples behind it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import ImageError
from clickcut_napari.plane import Plane, data_of

LEVELS = 256
"""Colours of a colour map; the picture has no more."""

_TABLE_BITS = 16
"""Integers up to this size are looked up in a table."""


@dataclass(frozen=True)
class Look:
    """How a plane is shown. Made in the window's thread, drawn in another one.

    Attributes:
        plane: that is shown.
        data: samples of the whole layer.
        limits: samples that are shown darkest and brightest.
        gamma: exponent of the brightness.
        colours: (256, 3) uint8, the colour map; None for a layer that has colours.
        signature: the same for the same picture of the same plane.
    """

    plane: Plane
    data: Any
    limits: tuple[float, float]
    gamma: float
    colours: NDArray[np.uint8] | None
    signature: Hashable

    @staticmethod
    def of(plane: Plane) -> Look:
        """Return how a plane is shown now.

        Raises:
            ImageError: samples that are not numbers.
        """
        layer = plane.layer
        data = data_of(layer)
        if np.dtype(data.dtype).kind not in "biuf":
            raise ImageError(f"{layer.name!r} has samples of type {data.dtype}, not real numbers")
        low, high = (float(limit) for limit in layer.contrast_limits)
        gamma = float(layer.gamma)
        colours = None if layer.rgb else _colours(layer.colormap)
        look = (id(data), low, high, gamma, None if colours is None else colours.tobytes())
        return Look(plane, data, (low, high), gamma, colours, (plane.key, look))

    def draw(self) -> NDArray[np.uint8]:
        """Return the picture, (H, W, 3) uint8 RGB. Reads the samples, which may take a while."""
        samples = np.asarray(self.plane.of(self.data))
        shown = _brightness(samples, self.limits, self.gamma)
        if self.colours is not None:
            return np.ascontiguousarray(self.colours[shown])
        colour = shown[..., :3]
        if shown.shape[2] == 4:  # on napari's black
            colour = np.rint(colour * (shown[..., 3:] / 255)).astype(np.uint8)
        return np.ascontiguousarray(colour)


def _colours(colormap: Any) -> NDArray[np.uint8]:
    found = np.asarray(colormap.map(np.linspace(0, 1, LEVELS)), np.float64)
    return np.rint(255 * np.clip(found[:, :3] * found[:, 3:], 0, 1)).astype(np.uint8)


def _brightness(
    samples: NDArray[Any], limits: tuple[float, float], gamma: float
) -> NDArray[np.uint8]:
    """Return samples as 0 to 255, in the shape given."""
    kind = samples.dtype
    if kind.kind == "b":
        samples, kind = samples.view(np.uint8), np.dtype(np.uint8)
    if kind.kind == "u" and 8 * kind.itemsize <= _TABLE_BITS:
        table = _stretched(np.arange(2 ** (8 * kind.itemsize)), limits, gamma)
        out: NDArray[np.uint8] = table[samples]
        return out
    return _stretched(samples, limits, gamma)


def _stretched(
    values: NDArray[Any], limits: tuple[float, float], gamma: float
) -> NDArray[np.uint8]:
    low, high = limits
    span = high - low if high > low else 1.0
    if not np.isfinite(span):  # limits at both ends of float64
        values, low, span = values / 4, low / 4, high / 4 - low / 4
    with np.errstate(invalid="ignore", over="ignore"):  # samples may be NaN or infinite
        scaled = np.clip((np.asarray(values, np.float64) - low) / span, 0, 1)
    scaled[np.isnan(scaled)] = 0
    return np.rint(255 * scaled**gamma).astype(np.uint8)
