"""What the methods without learning have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.methods.base import SEED_RADIUS, Seeds


class Classical(ABC):
    """Keeps the seeds; a method says what an image costs once, and how a mask follows from seeds.

    Args:
        max_pixels: a larger image is reduced to about this many first, and its mask enlarged
            with smooth outlines at the end; 0: never.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, contiguous, the image as the method sees it.
        seeds: discs around the clicks on it; their radius is reduced as the image is.
    """

    max_clicks = 0

    def __init__(self, max_pixels: int = 0) -> None:
        self._max_pixels = int(max_pixels)
        self.set_image(np.zeros((1, 1, 3), np.uint8))

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        """See `Method.set_image`."""
        height, width = pixels.shape[:2]
        self._size = width, height
        self._factor = 1.0
        if self._max_pixels and width * height > self._max_pixels:
            self._factor = math.sqrt(width * height / self._max_pixels)
            size = max(1, round(width / self._factor)), max(1, round(height / self._factor))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        self.pixels = np.ascontiguousarray(pixels)
        self.seeds = Seeds(pixels.shape[0], pixels.shape[1], SEED_RADIUS / self._factor)
        self._selected = np.zeros(pixels.shape[:2], np.bool_)
        if width * height > 1:
            self._prepare()

    def add_click(self, x: int, y: int, positive: bool) -> None:
        """See `Method.add_click`."""
        height, width = self.pixels.shape[:2]
        column = min(max((x + 0.5) * width / self._size[0] - 0.5, 0.0), width - 1.0)
        row = min(max((y + 0.5) * height / self._size[1] - 0.5, 0.0), height - 1.0)
        self.seeds.add(column, row, positive)
        self._selected = self._select()

    @property
    def mask(self) -> NDArray[np.bool_]:
        """See `Method.mask`."""
        return np.asarray(self._enlarged(self._selected.astype(np.float32)) > 0.5)

    @property
    def probability(self) -> NDArray[np.float32]:
        """See `Method.probability`; the mask, unless a method says otherwise."""
        return self.mask.astype(np.float32)

    def _enlarged(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (h, w) of the image as the method sees it, at the size of the image given."""
        if self._factor == 1.0:
            return values
        return np.asarray(cv2.resize(values, self._size, interpolation=cv2.INTER_LINEAR))

    @abstractmethod
    def _prepare(self) -> None:
        """Compute what depends on `self.pixels` alone."""

    @abstractmethod
    def _select(self) -> NDArray[np.bool_]:
        """The mask (h, w) bool that follows from `self.seeds`."""
