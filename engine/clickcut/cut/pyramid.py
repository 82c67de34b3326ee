"""Edge weights of an image at each reduction that is cut, in one place."""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.cut.weights import EdgeWeights


class EdgePyramid:
    """Edge weights of an image and of the image reduced, made when asked for; thread-safe.

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
        """The same with another sigma; reduced images are shared, weights are not."""
        other = EdgePyramid(self._pixels[1, 1], sigma)
        other._lock, other._pixels = self._lock, self._pixels
        return other

    def at(self, factor: int, coarser: int = 1) -> EdgeWeights:
        """Edge weights of the image reduced by a whole factor, and the result by another one.

        Where a size is no multiple, the last pixels are repeated.
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
            # In two steps: much faster than from a large photograph, and as good.
            source = self._pixels[1, 1] if coarser == 1 else self._reduced(factor, 1)
            by = factor if coarser == 1 else coarser
            self._pixels[key] = _mean_of_blocks(source, by)
        return self._pixels[key]

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights held now."""
        return sum(edges.nbytes for edges in list(self._weights.values()))

    @property
    def nbytes(self) -> int:
        """Bytes of weights and images held now, the full image included."""
        return self.weight_bytes + sum(image.nbytes for image in list(self._pixels.values()))


def _mean_of_blocks(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The image with one pixel for each block of `side` x `side`; the last ones may be smaller."""
    height, width = -(-pixels.shape[0] // side), -(-pixels.shape[1] // side)
    below, beside = height * side - pixels.shape[0], width * side - pixels.shape[1]
    if below or beside:
        pixels = np.asarray(
            cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8
        )
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
