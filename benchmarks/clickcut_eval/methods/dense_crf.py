"""Mean-field inference in a fully connected CRF, as in CRF-RNN (Zheng et al., ICCV 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.methods.lattice import Lattice

UNLIKELY = 0.02
"""A label whose probability exceeds this nowhere cannot win and is left out."""


@dataclass(frozen=True)
class DenseCrf:
    """Appearance and smoothness kernels (Krähenbühl and Koltun, NIPS 2011), Potts compatibility.

    Kernel sizes and first weights as in CRF-RNN's published code, before its training.

    Attributes:
        iterations: of the mean field; CRF-RNN tests with 10.
        appearance_weight: of the bilateral kernel.
        appearance_space: its standard deviation in space, pixels.
        appearance_colour: its standard deviation in colour, grey levels.
        smoothness_weight: of the spatial kernel.
        smoothness_space: its standard deviation, pixels.
    """

    iterations: int = 10
    appearance_weight: float = 5.0
    appearance_space: float = 160.0
    appearance_colour: float = 3.0
    smoothness_weight: float = 3.0
    smoothness_space: float = 3.0

    def refine(
        self, pixels: NDArray[np.uint8], probability: NDArray[np.float32]
    ) -> NDArray[np.intp]:
        """Labels after mean-field inference.

        Both kernels are normalised pixel by pixel, as in CRF-RNN.

        Args:
            pixels: (H, W, 3) uint8, RGB.
            probability: (H, W, L) float32, sums to 1 over labels.

        Returns:
            (H, W) the most probable label.
        """
        height, width = pixels.shape[:2]
        labels = np.flatnonzero(probability.max(axis=(0, 1)) > UNLIKELY)
        unary = np.log(np.maximum(probability[..., labels], 1e-8)).astype(np.float32)
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        features = np.empty((height, width, 5), np.float32)
        features[..., 0] = columns / self.appearance_space
        features[..., 1] = rows / self.appearance_space
        features[..., 2:] = pixels / np.float32(self.appearance_colour)
        lattice = Lattice(features.reshape(-1, 5))
        scale = 1 / np.maximum(lattice.filter(np.ones((height * width, 1), np.float32)), 1e-20)
        around = self._smooth(np.ones((height, width, 1), np.float32))
        q = _softmax(unary)
        for _ in range(self.iterations):
            alike = lattice.filter(q.reshape(height * width, -1)) * scale
            near = self._smooth(q) / around
            message = self.appearance_weight * alike.reshape(q.shape)
            q = _softmax(unary + message + self.smoothness_weight * near)
        return np.asarray(labels[q.argmax(axis=2)])

    def _smooth(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gaussian filter; nothing beyond the border."""
        sigma = self.smoothness_space
        out = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(out, np.float32).reshape(values.shape)


def _softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(values - values.max(axis=2, keepdims=True))
    return np.asarray(raised / raised.sum(axis=2, keepdims=True), np.float32)
