"""The graph cut of a region at a bounded cost: above a number of pixels, on a reduced image.

Up to `MAX_PIXELS` the cut is that of every pixel. A larger region, in practice the first click on a
large photograph, is cut on the image reduced by a whole factor f, with the mask resampled
afterwards; a region around the object, which later clicks see, is then cut at full resolution.

On the reduced grid R sums over f^2 times fewer pixels and B over f times fewer pairs, so
lambda becomes f lambda.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.cut import Cut, EdgeWeights
from clickcut.images import PreparedImage
from clickcut.region import Region
from clickcut.resample import move

MAX_PIXELS = 400_000
"""Pixels of the largest region that is cut at full resolution. Measured on photographs of 2 and 12
megapixels (benchmarks/results/reduced_cut.md): below this the masks are as good as with every
pixel, and a click costs a fifth."""


def reduction_factor(region: Region) -> int:
    """By how much a region is reduced for its cut; 1 = not at all."""
    return math.ceil(math.sqrt(region.area / MAX_PIXELS))


class RegionCut:
    """Cuts of one object at the resolution that each region allows; one thread at a time.

    Args:
        image: shared between sessions, with its edge weights.
        sigma: of the contrast term; 0 = estimated from the image.
        solver: one of `clickcut.cut.SOLVERS`.
    """

    def __init__(self, image: PreparedImage, sigma: float, solver: str) -> None:
        self._image = image
        self._sigma = sigma
        self._solver = solver
        self._cuts: dict[int, Cut] = {}
        self._own_edges: list[EdgeWeights] = []
        self._cut(1)  # an unknown solver is an error now, not at the first click

    @property
    def nbytes(self) -> int:
        """Bytes held, what belongs to the image not counted."""
        cuts = sum(cut.nbytes for cut in self._cuts.values())
        return cuts + sum(edges.nbytes for edges in self._own_edges)

    def reset(self) -> None:
        """Forget the warm state."""
        for cut in self._cuts.values():
            cut.reset()

    def solve(
        self,
        logits: NDArray[np.float32],
        region: Region,
        seeds: NDArray[np.int32],
        cut_lambda: float,
        seed_radius: float,
    ) -> NDArray[np.bool_]:
        """The mask inside `region`; arguments, result and errors as of `clickcut.cut.Cut.solve`."""
        factor = reduction_factor(region)
        cut = self._cut(factor)
        if factor == 1:
            return cut.solve(logits, region, seeds, cut_lambda, seed_radius)
        reduced = Region(
            region.x0 // factor,
            region.y0 // factor,
            -(-region.x1 // factor),
            -(-region.y1 // factor),
        )
        coarse_seeds = seeds.copy()
        coarse_seeds[:, :2] //= factor
        covered = Region(*(factor * at for at in dataclasses.astuple(reduced)))
        mask = cut.solve(
            move(logits, region, covered, outside=None),
            reduced,
            coarse_seeds,
            cut_lambda * factor,
            seed_radius / factor,
        )
        return _enlarged(mask, reduced, region, factor, seeds)

    def _cut(self, factor: int) -> Cut:
        if factor not in self._cuts:
            edges = self._image.edges_at(factor)
            if self._sigma:
                edges = EdgeWeights(edges.image, self._sigma)
                self._own_edges.append(edges)
            self._cuts[factor] = Cut(edges, self._solver)
        return self._cuts[factor]


def _enlarged(
    mask: NDArray[np.bool_],
    reduced: Region,
    region: Region,
    factor: int,
    seeds: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """The mask at full resolution, with smooth outlines; clicked pixels keep their label."""
    full = reduced.width * factor, reduced.height * factor
    grown = cv2.resize(mask.view(np.uint8) * np.uint8(255), full, interpolation=cv2.INTER_LINEAR)
    x0, y0 = region.x0 - reduced.x0 * factor, region.y0 - reduced.y0 * factor
    out: NDArray[np.bool_] = grown[y0 : y0 + region.height, x0 : x0 + region.width] > 127
    for x, y, sign in seeds:
        if region.x0 <= x < region.x1 and region.y0 <= y < region.y1:
            out[y - region.y0, x - region.x0] = sign > 0
    return out
