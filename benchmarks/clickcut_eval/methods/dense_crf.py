"""Mean-field inference in a fully connected CRF, as in CRF-RNN (Zheng et al., ICCV 2015)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.methods.lattice import Lattice

UNLIKELY = 0.02
"""A label whose probability exceeds this nowhere cannot win and is left out."""

LEARNED = "learned_crf.json"
"""Weights that `clickcut train crf` wrote, in this package."""

Weight = float | tuple[float, ...]
"""Of a kernel: one for all labels, or one for each."""


@dataclass(frozen=True)
class DenseCrf:
    """Appearance and smoothness kernels (Krähenbühl and Koltun, NIPS 2011).

    Kernel sizes and first weights as in CRF-RNN's published code, before its training; `learned`
    returns those after it.

    Attributes:
        iterations: of the mean field; CRF-RNN tests with 10.
        appearance_weight: of the bilateral kernel.
        appearance_space: its standard deviation in space, pixels.
        appearance_colour: its standard deviation in colour, grey levels.
        smoothness_weight: of the spatial kernel.
        smoothness_space: its standard deviation, pixels.
        compatibility: (L, L): what a label nearby (column) adds to the score of a label (row);
            None: 1 for the same label, 0 for others (Potts).
    """

    iterations: int = 10
    appearance_weight: Weight = 5.0
    appearance_space: float = 160.0
    appearance_colour: float = 3.0
    smoothness_weight: Weight = 3.0
    smoothness_space: float = 3.0
    compatibility: tuple[tuple[float, ...], ...] | None = None

    @classmethod
    def learned(cls) -> DenseCrf:
        """The CRF whose weights and compatibility were learned on top of the segmenter."""
        text = (resources.files("clickcut_eval.methods") / LEARNED).read_text(encoding="utf-8")
        values: dict[str, Any] = json.loads(text)
        return cls(
            appearance_weight=tuple(values["appearance_weight"]),
            smoothness_weight=tuple(values["smoothness_weight"]),
            compatibility=tuple(tuple(row) for row in values["compatibility"]),
        )

    def weights_json(self) -> str:
        """What `learned` reads."""
        names = ("appearance_weight", "smoothness_weight", "compatibility")
        return json.dumps({name: getattr(self, name) for name in names}) + "\n"

    def refine(
        self, pixels: NDArray[np.uint8], probability: NDArray[np.float32]
    ) -> NDArray[np.intp]:
        """Labels after mean-field inference.

        Args:
            pixels: (H, W, 3) uint8, RGB.
            probability: (H, W, L) float32, sums to 1 over labels.

        Returns:
            (H, W) the most probable label.
        """
        labels = likely_labels(probability)
        unary = np.log(np.maximum(probability[..., labels], 1e-8)).astype(np.float32)
        filters = Filters(pixels, self)
        appearance = _of_labels(self.appearance_weight, labels)
        smoothness = _of_labels(self.smoothness_weight, labels)
        q = _softmax(unary)
        for _ in range(self.iterations):
            message = appearance * filters.alike(q) + smoothness * filters.near(q)
            if self.compatibility is not None:
                message = message @ _square(self.compatibility, labels).T
            q = _softmax(unary + message)
        return np.asarray(labels[q.argmax(axis=2)])


class Filters:
    """Both kernels of a CRF on a photograph, normalised pixel by pixel, as in CRF-RNN.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        crf: the sizes of the kernels.

    Attributes:
        lattice: of the appearance kernel.
        alike_scale: (H * W, 1) float32, its normalisation.
        near_scale: (H, W, 1) float32, the smoothness kernel's.
    """

    def __init__(self, pixels: NDArray[np.uint8], crf: DenseCrf) -> None:
        height, width = pixels.shape[:2]
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        features = np.empty((height, width, 5), np.float32)
        features[..., 0] = columns / crf.appearance_space
        features[..., 1] = rows / crf.appearance_space
        features[..., 2:] = pixels / np.float32(crf.appearance_colour)
        self._sigma = crf.smoothness_space
        self.lattice = Lattice(features.reshape(-1, 5))
        ones = np.ones((height * width, 1), np.float32)
        alike = np.maximum(self.lattice.filter(ones), np.float32(1e-20))
        self.alike_scale = np.asarray(1 / alike, np.float32)
        self.near_scale = np.asarray(1 / self.blur(ones.reshape(height, width, 1)), np.float32)

    def alike(self, q: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean of (H, W, L) float32 over pixels that look alike."""
        values = np.ascontiguousarray(q.reshape(-1, q.shape[2]))
        alike = self.lattice.filter(values) * self.alike_scale
        return np.asarray(alike, np.float32).reshape(q.shape)

    def near(self, q: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean of (H, W, L) float32 over pixels that are near."""
        return np.asarray(self.blur(q) * self.near_scale, np.float32)

    def blur(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gaussian filter of (H, W, L) float32; nothing beyond the border."""
        out = cv2.GaussianBlur(values, (0, 0), self._sigma, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(out, np.float32).reshape(values.shape)


def likely_labels(probability: NDArray[np.float32]) -> NDArray[np.intp]:
    """The labels of (H, W, L) float32 that are likely somewhere, ascending."""
    return np.flatnonzero(probability.max(axis=(0, 1)) > UNLIKELY)


def _of_labels(weight: Weight, labels: NDArray[np.intp]) -> NDArray[np.float32]:
    """The weight of each of the labels, (K,)."""
    if isinstance(weight, tuple):
        return np.array([weight[label] for label in labels], np.float32)
    return np.full(labels.size, weight, np.float32)


def _square(
    compatibility: tuple[tuple[float, ...], ...], labels: NDArray[np.intp]
) -> NDArray[np.float32]:
    return np.array([[compatibility[i][j] for j in labels] for i in labels], np.float32)


def _softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(values - values.max(axis=2, keepdims=True))
    return np.asarray(raised / raised.sum(axis=2, keepdims=True), np.float32)
