"""Star convexity with several centres (Gulshan, Rother, Criminisi, Blake, Zisserman, CVPR 2010).

A pixel may only be object when the next pixel on its way to the nearest centre is: directed edges
of infinite weight in the cut. The centres are the positive clicks. In the *Euclidean* variant the
way is the straight line to the nearest click, in the *geodesic* one the shortest path by length and
image gradient to the nearest positive seed.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.cut import EdgeWeights
from clickcut.cut.problem import DX, DY, SCALE
from clickcut.errors import CutError
from clickcut.region import Region
from clickcut_eval.methods.base import BACKGROUND, OBJECT
from clickcut_eval.methods.classical import Classical
from clickcut_eval.methods.colour import ColourModel
from clickcut_eval.methods.paths import LENGTHS, MAX_COST, NO_PARENT, PathForest, difference_costs

UNIT = 1 << 15
"""Capacity units of the engine's edge weights that are one unit here, so that sums fit int32."""

FORBIDDEN = 1 << 30
"""Capacity of an edge that must not be cut; all flows together stay below it."""

REACH = 8.0
"""Unaries are clipped to +- this energy: for 2^17 pixels of it the total flow stays below 2^30."""

_FREE = 3

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
        max_pixels: larger images are reduced to so many. The cut with its directed edges has no
            fast solver here; on 8 photographs of GrabCut the clicks were 9.0 at full size, 8.5 with
            80,000 pixels and 8.0 with 40,000, at 407, 131 and 49 ms.
    """

    cut_lambda: float = 0.1
    contrast: float = 0.5
    bandwidth: float = 5.0
    floor: float = 0.01
    image_weight: float = 40.0
    gamma: float = 0.7
    max_pixels: int = 50_000


@dataclass(frozen=True)
class EuclideanStarParameters(StarParameters):
    """As `StarParameters`, with `gamma` fixed at 0."""

    gamma: float = 0.0


class _Star(Classical):
    """The cut that both variants share."""

    def __init__(self, parameters: StarParameters) -> None:
        self.parameters = parameters
        if importlib.util.find_spec("maxflow") is None:
            raise CutError("star convexity needs PyMaxflow: pip install PyMaxflow")
        super().__init__(parameters.max_pixels)

    def _prepare(self) -> None:
        p = self.parameters
        self._colours = ColourModel(self.pixels, p.bandwidth, p.floor, p.image_weight)
        edges = EdgeWeights(self.pixels)
        weights = EdgeWeights(self.pixels, max(edges.sigma * p.contrast, 0.1))
        height, width = self.pixels.shape[:2]
        self._weights = weights.dense(Region(0, 0, width, height)) // UNIT

    def _parents(self) -> NDArray[np.uint8]:
        """Direction of the next pixel towards the centre; `NO_PARENT` at and without centres."""
        raise NotImplementedError

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


@njit(cache=True, nogil=True)
def line_parents(centres: NDArray[np.int32], height: int, width: int) -> NDArray[np.uint8]:
    """The neighbour nearest to the straight line from each pixel to its nearest centre.

    Args:
        centres: (N, 2) int32, x and y; of equally near ones the first counts.
        height: of the image.
        width: of the image.

    Returns:
        (H, W) uint8, directions; `NO_PARENT` at centres, and everywhere when there are none.
    """
    out = np.full((height, width), NO_PARENT, np.uint8)
    for y in range(height):
        for x in range(width):
            best, dx, dy = -1, 0, 0
            for n in range(centres.shape[0]):
                u, v = centres[n, 0] - x, centres[n, 1] - y
                squared = u * u + v * v
                if best < 0 or squared < best:
                    best, dx, dy = squared, u, v
            if best <= 0:
                continue
            longest = max(abs(dx), abs(dy))
            # Rounded half away from zero, the same on all sides of a centre.
            sx = (2 * abs(dx) + longest) // (2 * longest) * (1 if dx > 0 else -1)
            sy = (2 * abs(dy) + longest) // (2 * longest) * (1 if dy > 0 else -1)
            for k in range(8):
                if DX[k] == sx and DY[k] == sy:
                    out[y, x] = k
    return out


@njit(cache=True, nogil=True)
def fixed_labels(label: NDArray[np.uint8], parents: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels that follow from the seeds alone.

    Behind a background seed all is background, from an object seed to its centre all is object.

    A centre's own seeds are taken at their word where the two contradict each other (a background
    seed between an object seed and its centre): the object seed stays, and frees its way.

    Args:
        label: (H, W) uint8, the seeds.
        parents: (H, W) uint8, directions towards the centre.

    Returns:
        (H, W) uint8: `OBJECT`, `BACKGROUND` or 0 = not fixed.
    """
    height, width = label.shape
    out = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            if label[y, x] == OBJECT:
                v, u = y, x
                while out[v, u] != OBJECT:
                    out[v, u] = OBJECT
                    k = parents[v, u]
                    if k == NO_PARENT:
                        break
                    v, u = v + DY[k], u + DX[k]
    # Follow each way to a pixel that is known, then tell all pixels passed; `_FREE` = known to be
    # free, so that no way is followed twice.
    for y in range(height):
        for x in range(width):
            v, u, found = y, x, out[y, x]
            while found == 0:
                if out[v, u] != 0:
                    found = BACKGROUND if out[v, u] == BACKGROUND else _FREE
                elif label[v, u] == BACKGROUND:
                    found = BACKGROUND
                elif parents[v, u] == NO_PARENT:
                    found = _FREE
                else:
                    v, u = v + DY[parents[v, u]], u + DX[parents[v, u]]
            end_y, end_x = v, u
            v, u = y, x
            while out[v, u] == 0:
                out[v, u] = found
                if v == end_y and u == end_x:
                    break
                v, u = v + DY[parents[v, u]], u + DX[parents[v, u]]
    for y in range(height):
        for x in range(width):
            if out[y, x] == _FREE:
                out[y, x] = 0
    return out


def star_cut(
    unary: NDArray[np.int32],
    weights: NDArray[np.int32],
    parents: NDArray[np.uint8],
    fixed: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """The mask of least energy in which no object pixel has a background parent.

    Args:
        unary: (H, W) int32, positive: object.
        weights: (H, W, 4) int32, between neighbours, to E, S, SE, SW; see `EdgeWeights.dense`.
        parents: (H, W) uint8, directions towards the centre.
        fixed: (H, W) uint8, labels that are given; consistent with `parents`, see `fixed_labels`.

    Returns:
        (H, W) bool; of several such masks the one with most object pixels.
    """
    import maxflow

    node, excess, ends, capacities = _problem(unary, weights, parents, fixed)
    graph = maxflow.GraphInt(len(excess), len(ends))
    graph.add_nodes(len(excess))
    nodes = np.arange(len(excess), dtype=np.int32)
    if len(ends):
        graph.add_edges(ends[:, 0], ends[:, 1], capacities[:, 0], capacities[:, 1])
    if len(excess):
        graph.add_grid_tedges(nodes, np.maximum(excess, 0), np.maximum(-excess, 0))
        graph.maxflow()
    mask: NDArray[np.bool_] = fixed == OBJECT
    free = node >= 0
    if len(excess):
        mask[free] = ~graph.get_grid_segments(nodes)
    return mask


@njit(cache=True, nogil=True)
def _problem(
    unary: NDArray[np.int32],
    weights: NDArray[np.int32],
    parents: NDArray[np.uint8],
    fixed: NDArray[np.uint8],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The free pixels as nodes 0, 1, ... in row order, or -1; their unaries; edges; capacities."""
    height, width = unary.shape
    node = np.full((height, width), -1, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if fixed[y, x] == 0:
                node[y, x] = count
                count += 1
    excess = np.zeros(count, np.int32)
    ends = np.empty((4 * count, 2), np.int32)
    capacities = np.empty((4 * count, 2), np.int32)
    edges = 0
    for y in range(height):
        for x in range(width):
            here = node[y, x]
            if here < 0:
                continue
            excess[here] += unary[y, x]
            for k in range(8):
                v, u = y + DY[k], x + DX[k]
                if not (0 <= v < height and 0 <= u < width):
                    continue
                weight = weights[y, x, k >> 1] if k % 2 == 0 else weights[v, u, k >> 1]
                there = node[v, u]
                if there < 0:
                    excess[here] += weight if fixed[v, u] == OBJECT else -weight
                elif k % 2 == 0:
                    ends[edges, 0], ends[edges, 1] = here, there
                    capacities[edges, 0] = weight + (FORBIDDEN if parents[y, x] == k else 0)
                    capacities[edges, 1] = weight + (FORBIDDEN if parents[v, u] == k ^ 1 else 0)
                    edges += 1
    return node, excess, ends[:edges], capacities[:edges]
