"""Star convexity with several centres (Gulshan, Rother, Criminisi, Blake, Zisserman, CVPR 2010).

A pixel may only be object when the next pixel on its way to the nearest centre is: directed edges
of infinite weight in the cut. The centres are the positive clicks. In the *Euclidean* variant the
way is the straight line to the nearest click, in the *geodesic* one the shortest path by length and
image gradient to the nearest positive seed.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.cut import EdgeWeights
from clickcut.cut.problem import SCALE
from clickcut.installation import require
from clickcut.region import Region
from clickcut_eval.methods.base import OBJECT
from clickcut_eval.methods.classical import Classical
from clickcut_eval.methods.colour import ColourModel
from clickcut_eval.methods.paths import LENGTHS, MAX_COST, PathForest, difference_costs
from clickcut_eval.methods.star_shape import fixed_labels, line_parents, star_cut

UNIT = 1 << 15
"""Capacity units of the engine's edge weights that are one unit here, so that sums fit int32."""

REACH = 8.0
"""Unaries are clipped to +- this energy: for 2^17 pixels of it the total flow stays below 2^30."""

PATH_SCALE = 60
"""Cost of a path's pixel of length."""

CHANGE_STEPS = 4.0
"""Entries of the cost tables per grey level of colour difference."""


@dataclass(frozen=True)
class StarParameters:
    """Parameters; the values are those found on training photographs, see docs/eval.md.

    Attributes:
        cut_lambda: weight of the colour term against the contrast term.
        contrast: sigma of the contrast term as a multiple of the root mean squared colour
            difference of neighbours in the image.
        bandwidth: of the colour model, units of L*a*b*; they used Gaussian mixtures.
        floor: of the colour model.
        image_weight: of the colour model.
        gamma: weight of the image gradient in the length of a path; 0 = Euclidean.
        max_pixels: larger images are reduced to about this many. The cut with its directed edges
            has no fast solver here; on 8 photographs of GrabCut the clicks were 9.0 at full size,
            8.5 with 80,000 pixels and 8.0 with 40,000, at 407, 131 and 49 ms.
    """

    cut_lambda: float = 0.0131
    contrast: float = 0.358
    bandwidth: float = 10.3
    floor: float = 0.00392
    image_weight: float = 233.0
    gamma: float = 0.21
    max_pixels: int = 50_000


@dataclass(frozen=True)
class EuclideanStarParameters(StarParameters):
    """As `StarParameters`, with `gamma` fixed at 0."""

    gamma: float = 0.0


class _Star(Classical):
    """The cut that both variants share."""

    def __init__(self, parameters: StarParameters) -> None:
        self.parameters = parameters
        require("pymaxflow", "maxflow")
        super().__init__(parameters.max_pixels)

    def _prepare(self) -> None:
        p = self.parameters
        self._colours = ColourModel(self.pixels, p.bandwidth, p.floor, p.image_weight)
        edges = EdgeWeights(self.pixels)
        weights = EdgeWeights(self.pixels, max(edges.sigma * p.contrast, 0.1))
        height, width = self.pixels.shape[:2]
        self._weights = weights.dense(Region(0, 0, width, height)) // UNIT

    @abstractmethod
    def _parents(self) -> NDArray[np.uint8]:
        """Direction of the next pixel towards the centre; `paths.NO_PARENT` where there is none."""

    def _select(self) -> NDArray[np.bool_]:
        ratio = self._colours.log_ratio(self.seeds.label)
        energy = np.clip(self.parameters.cut_lambda * ratio, -REACH, REACH)
        unary = np.rint(energy * (SCALE // UNIT)).astype(np.int32)
        parents = self._parents()
        fixed = fixed_labels(self.seeds.label, parents)
        return star_cut(unary, self._weights, parents, fixed)


class EuclideanStar(_Star):
    """Straight lines to the nearest positive click."""

    Parameters = EuclideanStarParameters

    def __init__(self, parameters: EuclideanStarParameters | None = None) -> None:
        super().__init__(parameters or EuclideanStarParameters())

    def _parents(self) -> NDArray[np.uint8]:
        clicks = self.seeds.clicks
        centres = np.array([(round(x), round(y)) for x, y, sign in clicks if sign], np.int32)
        return line_parents(centres.reshape(-1, 2), *self.pixels.shape[:2])


class GeodesicStar(_Star):
    """Shortest paths, by length and image gradient, to the nearest positive seed."""

    Parameters = StarParameters

    def __init__(self, parameters: StarParameters | None = None) -> None:
        super().__init__(parameters or StarParameters())

    def _prepare(self) -> None:
        super()._prepare()
        self._costs = path_costs(self.pixels, self.parameters.gamma)
        self._forest = PathForest(self._costs)

    def _parents(self) -> NDArray[np.uint8]:
        if self.seeds.flipped:
            self._forest = PathForest(self._costs)
            self._forest.grow(np.where(self.seeds.label == OBJECT, OBJECT, 0).astype(np.uint8))
        elif self.seeds.clicks[-1][2]:
            self._forest.grow(self.seeds.latest)
        return self._forest.parent


def path_costs(pixels: NDArray[np.uint8], gamma: float) -> NDArray[np.int32]:
    """sqrt((1 - gamma) length^2 + gamma |difference of colours|^2), (H, W, 4) int32.

    Colours are scaled so that the image's root mean squared difference of neighbours is one pixel.
    """
    sigma = EdgeWeights(pixels).sigma
    change = np.arange(int(np.sqrt(3) * 255 * CHANGE_STEPS) + 2) / (CHANGE_STEPS * sigma)
    lengths = np.sqrt((1 - gamma) * LENGTHS**2 + gamma * change**2)
    tables = np.minimum(np.rint(PATH_SCALE * lengths), MAX_COST - 1).astype(np.int32)
    return difference_costs(pixels.astype(np.float32), CHANGE_STEPS, tables)
