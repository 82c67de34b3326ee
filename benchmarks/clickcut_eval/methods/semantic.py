"""Semantic segmentation made interactive (paper section 4.3): the component under the click."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.methods.dense_crf import DenseCrf
from clickcut_eval.methods.segmenter import Segmenter


class Semantic:
    """The network labels the image once; a click selects the connected component of its label.

    As in the paper, whatever the label is, background included; components are 8-connected. There
    is no way to respond to a second click, so one click is all it takes.

    Args:
        weights: of the segmenter.
        crf: refines the labels by mean-field inference; None: they stay.
        threads: of the network.
    """

    max_clicks = 1

    def __init__(self, weights: Path, crf: DenseCrf | None, threads: int = 1) -> None:
        self._segmenter = Segmenter(weights, threads)
        self._crf = crf

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        """See `Method.set_image`."""
        probabilities = self._segmenter.probabilities(pixels)
        if self._crf is None:
            labels = probabilities.argmax(axis=2)
        else:
            labels = self._crf.refine(pixels, probabilities)
        self._labels = labels
        self._mask = np.zeros(pixels.shape[:2], np.bool_)

    def add_click(self, x: int, y: int, positive: bool) -> None:
        """See `Method.add_click`; a negative click has no effect."""
        if positive:
            self._mask = component(self._labels, x, y)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """See `Method.mask`."""
        return self._mask

    @property
    def probability(self) -> NDArray[np.float32]:
        """See `Method.probability`."""
        return self._mask.astype(np.float32)


def component(labels: NDArray[np.intp], x: int, y: int) -> NDArray[np.bool_]:
    """The 8-connected component of (x, y)'s label, (H, W) bool, in a label image (H, W)."""
    alike = (labels == labels[y, x]).astype(np.uint8)
    _, parts = cv2.connectedComponents(alike, connectivity=8)
    mask: NDArray[np.bool_] = parts == parts[y, x]
    return mask
