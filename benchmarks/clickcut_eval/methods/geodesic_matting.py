"""Geodesic framework for segmentation and matting (Bai and Sapiro, ICCV 2007, IJCV 2009)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut_eval.methods.base import OBJECT
from clickcut_eval.methods.classical import Classical
from clickcut_eval.methods.colour import ColourModel
from clickcut_eval.methods.paths import LENGTHS, PathForest, difference_costs

SCALE = 4000
"""Cost of a step over which the probability changes by 1."""


@dataclass(frozen=True)
class GeodesicParameters:
    """Parameters; the values are those found on training photographs, see docs/eval.md.

    Attributes:
        bandwidth: of the colour densities, units of L*a*b*.
        floor: of the colour densities.
        image_weight: of the colour densities; they always had scribbles of both kinds.
        spatial: cost of a step of one pixel where the probability does not change, as a change of
            probability; 0 in the paper, where it leaves even areas undecided.
    """

    bandwidth: float = 7.52
    floor: float = 0.00466
    image_weight: float = 5.98
    spatial: float = 0.00033


class GeodesicMatting(Classical):
    """Every pixel goes to the scribble with the smaller geodesic distance.

    The distance integrates the change of the object's colour probability P_F along a path
    (equations 2-4 of the 2007 paper). P_B = 1 - P_F changes as much, so the distances to both kinds
    of scribbles have the same costs, and the smaller one belongs to the nearest seed of any kind:
    one search finds it. Until the first negative click the image's border is background.
    """

    Parameters = GeodesicParameters

    def __init__(self, parameters: GeodesicParameters | None = None) -> None:
        self.parameters = parameters or GeodesicParameters()
        super().__init__()

    def _prepare(self) -> None:
        p = self.parameters
        self._colours = ColourModel(self.pixels, p.bandwidth, p.floor, p.image_weight)
        change = np.arange(SCALE + 1) + SCALE * p.spatial * LENGTHS
        self._tables = np.rint(change).astype(np.int32)

    def _select(self) -> NDArray[np.bool_]:
        ratio = self._colours.log_ratio(self.seeds.label)
        likely = np.float32(1) / (np.float32(1) + np.exp(-ratio))
        costs = difference_costs(likely[..., None], float(SCALE), self._tables)
        forest = PathForest(costs)
        forest.grow(self.seeds.with_border())
        return np.asarray(forest.label == OBJECT)
