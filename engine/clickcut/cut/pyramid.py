"""Edge weights of an image at each reduction."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.weights import EdgeWeights
from clickcut.shrink import mean_of_blocks


class EdgePyramid:
    """Edge weights of an image and of the image reduced, computed when needed; thread-safe.

    Args:
        pixels: (H, W, 3) uint8, RGB; kept, not copied.
        sigma: of the contrast term, grey levels; None: estimated from each reduced image.
    """

    def __init__(self, pixels: NDArray[np.uint8], sigma: float | None = None) -> None:
        full = EdgeWeights(pixels, sigma)
        self._sigma = sigma
        self._lock = threading.Lock()
        self._pixels: dict[tuple[int, int], NDArray[np.uint8]] = {(1, 1): full.image}
        self._weights: dict[tuple[int, int], EdgeWeights] = {(1, 1): full}

    def with_sigma(self, sigma: float) -> EdgePyramid:
        """Return a pyramid with another sigma; reduced images are shared, weights are not."""
        other = EdgePyramid(self._pixels[1, 1], sigma)
        other._lock, other._pixels = self._lock, self._pixels
        return other

    def at(self, factor: int, coarser: int = 1) -> EdgeWeights:
        """Return the edge weights of the image reduced by `factor`, and then by `coarser`.

        Where a size is not a multiple of the factor, the border pixels are repeated.
        """
        if factor == 1:
            factor, coarser = coarser, 1
        key = factor, coarser
        with self._lock:
            if key not in self._weights:
                self._weights[key] = EdgeWeights(self._reduced(*key), self._sigma)
            return self._weights[key]

    def _reduced(self, factor: int, coarser: int) -> NDArray[np.uint8]:
        key = factor, coarser
        if key not in self._pixels:
            # In two steps: much faster for a large photograph, and equally good.
            source = self._pixels[1, 1] if coarser == 1 else self._reduced(factor, 1)
            by = factor if coarser == 1 else coarser
            self._pixels[key] = mean_of_blocks(source, by)
        return self._pixels[key]

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights, bytes."""
        return sum(edges.nbytes for edges in list(self._weights.values()))

    @property
    def nbytes(self) -> int:
        """Memory of weights and images in bytes, the full image included."""
        return self.weight_bytes + sum(image.nbytes for image in list(self._pixels.values()))
