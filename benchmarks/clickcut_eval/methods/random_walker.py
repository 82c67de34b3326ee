"""Random walks for image segmentation (Grady, PAMI 2006)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu

from clickcut_eval.methods.base import OBJECT
from clickcut_eval.methods.classical import Classical

LEAST = 1e-10
"""Added to every weight, so that the system is never singular; as in scikit-image."""


@dataclass(frozen=True)
class RandomWalkerParameters:
    """Parameters; the values are those found on training photographs, see docs/eval.md.

    Attributes:
        beta: fall of a weight with the squared colour difference, as in scikit-image: there the
            exponent is -beta |difference|^2 / (10 std sqrt(3)) for colours in 0..1.
        smoothing: sigma of a Gaussian filter on the image first, pixels; 0 in the paper.
        max_pixels: larger images are reduced to about this many, and the probability enlarged
            before it is compared with 1/2. A direct solution costs 75 ms of one core for 25,000
            pixels and 220 for 60,000.
    """

    beta: float = 1330.0
    smoothing: float = 0.32
    max_pixels: int = 25_000


class RandomWalker(Classical):
    """A pixel is object when a walk that starts there reaches an object seed first (p > 1/2).

    The probabilities solve the Dirichlet problem L x = 0 with x = 1 on object and 0 on background
    seeds (equation 10 of the paper) on the 4-connected grid: weights and system of scikit-image's
    `random_walker`, solved directly. Until the first negative click the image's border is
    background.
    """

    Parameters = RandomWalkerParameters

    def __init__(self, parameters: RandomWalkerParameters | None = None) -> None:
        self.parameters = parameters or RandomWalkerParameters()
        super().__init__(self.parameters.max_pixels)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """See `Method.mask`."""
        return self.probability > np.float32(0.5)

    @property
    def probability(self) -> NDArray[np.float32]:
        """See `Method.probability`."""
        return self._enlarged(self._solution)

    def _prepare(self) -> None:
        p = self.parameters
        colours = self.pixels.astype(np.float64) / 255
        if p.smoothing > 0:
            colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), p.smoothing))
        self._laplacian = laplacian(colours, p.beta)
        self._solution = np.zeros(self.pixels.shape[:2], np.float32)

    def _select(self) -> NDArray[np.bool_]:
        self._solution = walk(self._laplacian, self.seeds.with_border())
        return self._solution > np.float32(0.5)


def laplacian(colours: NDArray[np.float64], beta: float) -> csc_array:
    """Laplacian of the 4-connected grid, pixels in row order.

    Args:
        colours: (H, W, C) float64, 0..1.
        beta: see `RandomWalkerParameters`.

    Returns:
        (H W, H W) float64.
    """
    height, width = colours.shape[:2]
    spread = max(float(colours.std()), 1e-6)
    factor = beta / (10 * spread * math.sqrt(colours.shape[2]))
    index = np.arange(height * width).reshape(height, width)
    ends = [
        (index[:, :-1], index[:, 1:], np.diff(colours, axis=1)),
        (index[:-1], index[1:], np.diff(colours, axis=0)),
    ]
    a = np.concatenate([e[0].reshape(-1) for e in ends])
    b = np.concatenate([e[1].reshape(-1) for e in ends])
    squared = np.concatenate([(e[2] ** 2).sum(2).reshape(-1) for e in ends])
    weights = np.exp(-factor * squared) + LEAST
    degree = np.bincount(a, weights, index.size) + np.bincount(b, weights, index.size)
    rows = np.concatenate([a, b, index.reshape(-1)])
    columns = np.concatenate([b, a, index.reshape(-1)])
    values = np.concatenate([-weights, -weights, degree])
    return coo_array((values, (rows, columns)), shape=(index.size, index.size)).tocsc()


def walk(matrix: csc_array, seeds: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probability to reach an object seed first.

    Args:
        matrix: see `laplacian`.
        seeds: (H, W) uint8, `OBJECT`, another label for background, 0 = unknown.

    Returns:
        (H, W) float32; 0 everywhere without object seeds.
    """
    flat = seeds.reshape(-1)
    out = (flat == OBJECT).astype(np.float32)
    unknown, known = np.flatnonzero(flat == 0), np.flatnonzero(flat)
    if out.any() and unknown.size:
        columns = matrix[:, unknown]
        right = -(columns[known].T @ out[known].astype(np.float64))
        # Symmetric and diagonally dominant: no pivoting, and an ordering for symmetric matrices.
        factor = splu(
            columns[unknown],
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        out[unknown] = factor.solve(right)
    return np.asarray(out.reshape(seeds.shape), np.float32)
