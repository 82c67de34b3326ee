"""Colour models of object and background: kernel density estimates from seed pixels.

Densities live on a grid of `BINS`^3 cells in CIE L*a*b*: the seeds' histogram, smoothed with a
Gaussian kernel. That is the estimate of Bai and Sapiro (2007, section 3: kernel density estimation
in Lab) at the cells' centres and, with a narrow kernel, the histogram of Boykov and Jolly (2001).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from clickcut_eval.methods.base import BACKGROUND, OBJECT, lab

BINS = 32
"""Cells along each axis."""

LOW = np.array([0.0, -64.0, -64.0], np.float32)
WIDTH = np.array([100.0 / BINS, 128.0 / BINS, 128.0 / BINS], np.float32)
"""First cell and width of the cells; colours beyond -64..64 in a or b count with the last cell."""


class ColourModel:
    """Densities of an image's colours under object and background.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        bandwidth: standard deviation of the kernel, units of L*a*b*.
        floor: part of each density that is uniform over all cells: no colour is impossible.
        image_weight: the whole image's colours count as this many pixels of background. They are
            all that is known of the background before the first negative click.
    """

    def __init__(
        self, pixels: NDArray[np.uint8], bandwidth: float, floor: float, image_weight: float
    ) -> None:
        cells = np.clip((lab(pixels) - LOW) / WIDTH, 0, BINS - 1).astype(np.int32)
        self._cell = (cells[..., 0] * BINS + cells[..., 1]) * BINS + cells[..., 2]
        self._sigma = bandwidth / WIDTH
        self._floor = floor
        counts = np.bincount(self._cell.reshape(-1), minlength=BINS**3)
        self._image = counts * (image_weight / self._cell.size)

    def log_ratio(self, label: NDArray[np.uint8]) -> NDArray[np.float32]:
        """log of object density / background density at every pixel, (H, W) float32.

        Args:
            label: (H, W) uint8, the seeds: `OBJECT`, `BACKGROUND`, 0 = none.
        """
        inside = np.bincount(self._cell[label == OBJECT], minlength=BINS**3)
        outside = np.bincount(self._cell[label == BACKGROUND], minlength=BINS**3) + self._image
        ratio = np.log(self._density(inside) / self._density(outside)).astype(np.float32)
        return np.asarray(ratio[self._cell], np.float32)

    def _density(self, counts: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        grid = counts.reshape(BINS, BINS, BINS).astype(np.float64)
        smooth = gaussian_filter(grid, self._sigma, mode="constant", truncate=3.0).reshape(-1)
        total = smooth.sum()
        share = smooth / total if total > 0 else np.zeros_like(smooth)
        out: NDArray[np.float64] = (1 - self._floor) * share + self._floor / smooth.size
        return out
