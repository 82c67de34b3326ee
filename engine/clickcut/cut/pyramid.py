"""Edge weights of an image at each reduction."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.weights import EdgeWeights
from clickcut.scales import Scales
from clickcut.shrink import mean_of_blocks, mean_of_large_blocks


class EdgePyramid:
    """Edge weights of an image and of the image reduced, computed when needed; thread-safe.

    Args:
        scales: the image; kept, not copied.
        sigma: of the contrast term, grey levels; None: estimated from each reduced image.

    Attributes:
        height: rows of the image.
        width: columns of the image.
    """

    def __init__(self, scales: Scales, sigma: float | None = None) -> None:
        self.height, self.width = scales.height, scales.width
        self._scales = scales
        self._sigma = sigma
        self._lock = threading.Lock()
        self._pixels: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._weights: dict[tuple[int, int], EdgeWeights] = {}

    def with_sigma(self, sigma: float) -> EdgePyramid:
        """Return a pyramid with another sigma; reduced images are shared, weights are not."""
        other = EdgePyramid(self._scales, sigma)
        other._lock, other._pixels = self._lock, self._pixels
        return other

    def at(self, factor: int, coarser: int = 1) -> EdgeWeights:
        """Return the edge weights of the image reduced by `factor`, and then by `coarser`.

        Where a size is not a multiple of the factor, the border pixels are repeated.

        Raises:
            ImageError, BusyError: see `Scales.full`, where that is needed.
        """
        if factor == 1:
            factor, coarser = coarser, 1
        key = factor, coarser
        if self._needs_full(factor) and key not in self._weights:
            self._scales.full  # noqa: B018  decoded now, not while other cuts wait for the lock
        with self._lock:
            if key not in self._weights:
                self._weights[key] = EdgeWeights(self._reduced(*key), self._sigma)
            return self._weights[key]

    def _reduced(self, factor: int, coarser: int) -> NDArray[np.uint8]:
        key = factor, coarser
        if key == (1, 1):
            return self._scales.full
        if key not in self._pixels:
            if coarser > 1:  # in two steps: much faster for a large photograph, and equally good
                self._pixels[key] = mean_of_blocks(self._reduced(factor, 1), coarser)
            elif self._scales.reduced is None or self._needs_full(factor):
                self._pixels[key] = mean_of_blocks(self._scales.full, factor)
            else:
                size = self.height, self.width
                self._pixels[key] = mean_of_large_blocks(self._scales.reduced, *size, factor)
        return self._pixels[key]

    def _needs_full(self, factor: int) -> bool:
        """Return whether a reduction is computed from the full picture."""
        return self._scales.reduced is None or factor < self._scales.reduced.factor

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights, bytes."""
        return sum(edges.nbytes for edges in list(self._weights.values()))

    @property
    def nbytes(self) -> int:
        """Memory of weights and images in bytes, the full image included."""
        reduced = sum(image.nbytes for image in list(self._pixels.values()))
        return self.weight_bytes + self._scales.nbytes + reduced
