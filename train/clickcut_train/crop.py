"""Crops of photographs: what of a photograph a training sample shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_train.sample_options import SampleOptions


@dataclass(frozen=True)
class Crop:
    """A square view of a photo.

    Attributes:
        size: side of the view, pixels.
        matrix: (2, 3) float64, pixels (x, y, 1) of the photo -> pixels of the view.
    """

    size: int
    matrix: NDArray[np.float64]

    @staticmethod
    def around(
        target: NDArray[np.uint8], size: int, options: SampleOptions, rng: np.random.Generator
    ) -> Crop:
        """Draw a crop for a target (H, W)."""
        x0, y0, x1, y1 = _choose_region(target, options, rng)
        sx, sy = size / (x1 - x0), size / (y1 - y0)
        matrix = np.array([[sx, 0, (0.5 - x0) * sx - 0.5], [0, sy, (0.5 - y0) * sy - 0.5]])
        if options.flip and rng.random() < 0.5:
            matrix[0] = -matrix[0] + (0, 0, size - 1)
        return Crop(size, matrix)

    def image(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The view of an (H, W, 3) uint8 photo: (S, S, 3) uint8."""
        smaller = min(abs(self.matrix[0, 0]), self.matrix[1, 1])
        if smaller < 0.7:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 / smaller), np.uint8)
        return np.asarray(self._warp(pixels, cv2.INTER_LINEAR), np.uint8)

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The view of an (H, W) uint8 mask: (S, S) bool."""
        return self._warp(mask, cv2.INTER_NEAREST).astype(bool)

    def _warp(self, pixels: NDArray[np.uint8], how: int) -> NDArray[Any]:
        side = (self.size, self.size)
        return cv2.warpAffine(pixels, self.matrix, side, flags=how, borderMode=cv2.BORDER_REPLICATE)


def _choose_region(
    target: NDArray[np.uint8], options: SampleOptions, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Region (x0, y0, x1, y1), as at inference: the image, or the object's box with a margin."""
    height, width = target.shape
    if not options.zoom and not options.augment:
        return 0.0, 0.0, float(width), float(height)
    if not options.zoom or rng.random() < 0.4:
        shrink = rng.uniform(0.85, 1.0, 2)
        w, h = width * shrink[0], height * shrink[1]
        x0, y0 = rng.uniform(0, width - w), rng.uniform(0, height - h)
        kept = np.count_nonzero(target[int(y0) : int(y0 + h), int(x0) : int(x0 + w)])
        if kept >= 0.7 * np.count_nonzero(target):
            return x0, y0, x0 + w, y0 + h
    if not options.zoom:
        return 0.0, 0.0, float(width), float(height)
    ys, xs = np.flatnonzero(target.any(1)), np.flatnonzero(target.any(0))
    box_w, box_h = xs[-1] + 1 - xs[0], ys[-1] + 1 - ys[0]
    side = max(box_w, box_h) * np.exp(rng.uniform(np.log(1.1), np.log(options.zoom_max)))
    w = min(width, max(box_w * rng.uniform(1.05, 1.5), side * rng.uniform(0.75, 1.0), 64))
    h = min(height, max(box_h * rng.uniform(1.05, 1.5), side * rng.uniform(0.75, 1.0), 64))
    cx = (xs[0] + xs[-1] + 1) / 2 + rng.uniform(-0.15, 0.15) * w
    cy = (ys[0] + ys[-1] + 1) / 2 + rng.uniform(-0.15, 0.15) * h
    x0 = float(np.clip(cx - w / 2, 0, width - w))
    y0 = float(np.clip(cy - h / 2, 0, height - h))
    return x0, y0, x0 + w, y0 + h
