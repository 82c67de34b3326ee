"""Cut a region at bounded cost: on a reduced image, or coarse to fine, where needed.

*Large regions.* Up to `MAX_PIXELS` the cut is that of every pixel. A larger region, in practice the
first click on a large photograph, is cut on the image reduced by a whole factor f, with the mask
resampled afterwards; a region around the object, which later clicks see, is then cut at full
resolution.

*Uncertain regions.* Where many logits are near 0, flow has to travel far and an exact cut takes
up to a hundred times longer than otherwise. Such a region is cut on a reduced image first; then,
at full resolution, in a band around that outline, the rest keeping its label (Lombaert et al.,
ICCV 2005). Both cuts are exact, and which way a region is cut depends on its problem alone.

On a grid reduced by f, R sums over f^2 times fewer pixels and B over f times fewer pairs, so lambda
becomes f lambda.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.cut.cut import NOT_FINITE, Cut, CutProblem, check_solver
from clickcut.cut.problem import LIMIT, LOGIT_LIMIT, SCALE
from clickcut.cut.pyramid import EdgePyramid
from clickcut.errors import CutError
from clickcut.region import Region
from clickcut.resample import move

MAX_PIXELS = 400_000
"""Pixels of the largest region that is cut at full resolution. Measured on photographs of 2 and 12
megapixels (benchmarks/results/reduced_cut.md): below this the masks are as good as with every
pixel, and a click costs a fifth."""

COARSE_PIXELS = 16_000
"""Approximate pixels of the coarse cut of an uncertain region; like the values below from
benchmarks/results/coarse_cut.md."""

COARSE_LAMBDA = 0.3
"""Lambda of the coarse cut as a multiple of the fine one's: where the
network is uncertain, a smoother outline is better."""

WEAK_UNARY = 0.25
"""A pixel is uncertain when lambda |logit| is below this; an edge weight is at most 1."""

WEAK_PIXELS = 6_000
"""Number of uncertain pixels above which a region is uncertain."""

BAND = 0.6
"""Half width of the band around the coarse outline that is cut again, in coarse pixels."""

MIN_LAMBDA = 1e-4
"""A smaller lambda counts as 0: R is then negligible, but a cut would push it through the whole
region in the smallest units, for minutes."""

SEED_SIDE = 384.6
"""In a region whose side (geometric mean of both) is smaller, pixels, seed discs shrink with it: a
disc that fits a large object would cover a small one's outline (benchmarks/results/energy.md)."""


def reduction_factor(region: Region) -> int:
    """Return the factor by which a region is reduced for its cut; 1 for none."""
    return math.ceil(math.sqrt(region.area / MAX_PIXELS))


def reduced_problem(problem: CutProblem, factor: int) -> CutProblem:
    """Return a problem on the image reduced by `factor`; its region covers at least as much.

    Raises:
        CutError: a logit is not finite; it could be one that no reduced sample is taken from.
    """
    if factor == 1:
        return problem
    logits, region = problem.logits, problem.region
    if not math.isfinite(float(logits.sum(dtype=np.float64))):
        raise CutError(NOT_FINITE)
    reduced = Region(
        region.x0 // factor, region.y0 // factor, -(-region.x1 // factor), -(-region.y1 // factor)
    )
    seeds = problem.seeds.copy()
    seeds[:, :2] //= factor
    shape = min(logits.shape[0], reduced.height), min(logits.shape[1], reduced.width)
    return CutProblem(
        move(_clipped(logits), region, reduced.scaled(factor), None, shape),
        reduced,
        seeds,
        problem.cut_lambda * factor,
        problem.seed_radius / factor,
    )


def coarse_factor(problem: CutProblem) -> int:
    """Return the further reduction of a problem for a coarse cut; 1 if none is needed."""
    area, logits, cut_lambda = problem.region.area, problem.logits, problem.cut_lambda
    factor = round(math.sqrt(area / COARSE_PIXELS))
    limit = WEAK_UNARY / cut_lambda if cut_lambda > 0 else math.inf
    weak = np.count_nonzero(np.abs(logits) < np.float32(limit))
    pixels = weak * area / logits.size
    return factor if factor > 1 and pixels > WEAK_PIXELS else 1


class RegionCut:
    """Cuts of one object at the resolution that each region allows. Not thread-safe.

    Args:
        edges: of the image; shared between sessions.
        solver: one of `clickcut.cut.SOLVERS`.
    """

    def __init__(self, edges: EdgePyramid, solver: str) -> None:
        self._edges = edges
        self._solver = solver
        self._cuts: dict[tuple[int, int], Cut] = {}
        check_solver(solver)  # now, not at the first click

    @property
    def nbytes(self) -> int:
        """Memory in bytes, without the edge weights."""
        return sum(cut.nbytes for cut in self._cuts.values())

    def reset(self) -> None:
        """Discard the warm state."""
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
        """Return the mask inside `region`; see `clickcut.cut.Cut.solve`."""
        problem = CutProblem(logits, region, seeds, cut_lambda, seed_radius)
        problem.check(self._edges.width, self._edges.height)
        if 0 < cut_lambda < MIN_LAMBDA:
            cut_lambda = 0.0
        seed_radius *= min(1.0, math.sqrt(region.area) / SEED_SIDE)
        whole = problem._replace(cut_lambda=cut_lambda, seed_radius=seed_radius)
        factor = reduction_factor(region)
        fine = reduced_problem(whole, factor)
        coarser = coarse_factor(fine)
        if coarser > 1:
            coarse = reduced_problem(whole, factor * coarser)
            coarse = coarse._replace(cut_lambda=COARSE_LAMBDA * coarse.cut_lambda)
            mask = self._cut(factor, coarser).solve_checked(coarse)
            fine = _in_band(fine, mask, coarse.region, coarser)
        mask = self._cut(factor).solve_checked(fine)
        return mask if factor == 1 else _enlarged(mask, fine.region, region, factor, seeds)

    def _cut(self, factor: int, coarser: int = 1) -> Cut:
        # A cut starts from its last solution, so there is one per kind of problem.
        key = factor, coarser
        if key not in self._cuts:
            self._cuts[key] = Cut(self._edges.at(factor, coarser), self._solver)
        return self._cuts[key]


def _in_band(
    problem: CutProblem, mask: NDArray[np.bool_], covered: Region, factor: int
) -> CutProblem:
    """Return a problem with its labels fixed except in a band around the outline of a mask.

    Args:
        problem: at the finer resolution.
        mask: (h, w) bool, of a cut on the image reduced by `factor` more.
        covered: its region, in pixels of that image.
        factor: 2 or more.

    Returns:
        The same where the outline is at most `BAND` coarse pixels away. Elsewhere logits are
        +-`LOGIT_LIMIT`, and lambda is at least so large that these outweigh all edges of a pixel;
        logits in the band are smaller by as much.
    """
    height, width = problem.logits.shape
    region = problem.region
    rows = _coarse_places(height, region.y0, region.height, factor) - covered.y0
    columns = _coarse_places(width, region.x0, region.width, factor) - covered.x0
    label = mask.take(rows, axis=0).take(columns, axis=1)
    reach_x = max(1, round(BAND * factor * width / region.width))
    reach_y = max(1, round(BAND * factor * height / region.height))
    around = np.ones((2 * reach_y + 1, 2 * reach_x + 1), np.uint8)
    within = cv2.morphologyEx(label.view(np.uint8), cv2.MORPH_GRADIENT, around)
    cut_lambda = max(problem.cut_lambda, LIMIT / SCALE / LOGIT_LIMIT)
    logits = label * np.float32(2 * LOGIT_LIMIT) - np.float32(LOGIT_LIMIT)
    scale = np.float32(problem.cut_lambda / cut_lambda)
    cv2.copyTo(_clipped(problem.logits) * scale, within, logits)
    return problem._replace(logits=logits, cut_lambda=cut_lambda)


def _clipped(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clip logits as `Cut` does: before they are scaled or interpolated, not after."""
    return np.clip(logits, -np.float32(LOGIT_LIMIT), np.float32(LOGIT_LIMIT))


def _coarse_places(samples: int, start: int, pixels: int, factor: int) -> NDArray[np.intp]:
    """Return the coarse pixels in which the samples of one axis lie, (samples,) intp."""
    places = (np.arange(samples) + 0.5) * (pixels / samples) + start
    return (places / factor).astype(np.intp)


def _enlarged(
    mask: NDArray[np.bool_],
    reduced: Region,
    region: Region,
    factor: int,
    seeds: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Return the mask at full resolution, with smooth outlines; clicked pixels keep their label."""
    full = reduced.width * factor, reduced.height * factor
    grown = cv2.resize(mask.view(np.uint8) * np.uint8(255), full, interpolation=cv2.INTER_LINEAR)
    cv2.threshold(grown, 127, 1, cv2.THRESH_BINARY, dst=grown)
    x0, y0 = region.x0 - reduced.x0 * factor, region.y0 - reduced.y0 * factor
    out = grown[y0 : y0 + region.height, x0 : x0 + region.width].view(np.bool_)
    for x, y, sign in seeds:
        if region.x0 <= x < region.x1 and region.y0 <= y < region.y1:
            out[y - region.y0, x - region.x0] = sign > 0
    return out
