"""OpenCV's GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004) driven by clicks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.methods.base import BACKGROUND, OBJECT
from clickcut_eval.methods.classical import Classical


@dataclass(frozen=True)
class OpenCvGrabCutParameters:
    """Parameters.

    Attributes:
        first_iterations: of models and cut after the first click; OpenCV's examples use 5.
        iterations: after each later click, going on with the models of the click before.
        max_pixels: larger images are reduced to about this many.
    """

    first_iterations: int = 2
    iterations: int = 1
    max_pixels: int = 100_000


class OpenCvGrabCut(Classical):
    """Seeds are certain pixels; all others are probably background, then as the last cut said.

    Until the first negative click the image's border is certain background, as outside a rectangle
    in OpenCV's own interface.
    """

    Parameters = OpenCvGrabCutParameters

    def __init__(self, parameters: OpenCvGrabCutParameters | None = None) -> None:
        self.parameters = parameters or OpenCvGrabCutParameters()
        super().__init__(self.parameters.max_pixels)

    def _prepare(self) -> None:
        self._bgr = np.ascontiguousarray(self.pixels[..., ::-1])
        self._labels = np.full(self.pixels.shape[:2], cv2.GC_PR_BGD, np.uint8)
        self._models = np.zeros((1, 65)), np.zeros((1, 65))

    def _select(self) -> NDArray[np.bool_]:
        seeds = self.seeds.with_border()
        # Border pixels that were certain until now become what the last cut would have said.
        certain = (self._labels == cv2.GC_BGD) | (self._labels == cv2.GC_FGD)
        self._labels[certain & (seeds == 0)] = cv2.GC_PR_BGD
        self._labels[seeds == OBJECT] = cv2.GC_FGD
        self._labels[seeds == BACKGROUND] = cv2.GC_BGD
        first = not self._models[0].any()
        if not (self._labels == cv2.GC_FGD).any():
            return np.zeros(self.pixels.shape[:2], np.bool_)  # GrabCut needs object pixels
        p = self.parameters
        cv2.setRNGSeed(0)  # k-means starts at random
        cv2.grabCut(
            self._bgr,
            self._labels,
            (0, 0, 1, 1),  # no rectangle: the labels say all
            *self._models,
            p.first_iterations if first else p.iterations,
            cv2.GC_INIT_WITH_MASK if first else cv2.GC_EVAL,
        )
        mask: NDArray[np.bool_] = (self._labels & 1) == 1  # GC_FGD = 1, GC_PR_FGD = 3
        return mask
