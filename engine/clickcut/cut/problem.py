"""The energy in integers, which both solvers minimise, so that their masks are the same.

E(L) = sum of lambda R + sum of B becomes a cut problem with integer capacities: one unit is
1 / `SCALE`. A pixel carries one signed *unary* u (positive: object), a pair of neighbours one edge
weight. The same functions compute them for every solver, hence the optimum is a function of the
problem alone; among several optimal masks the one with the *most* object pixels is the result. It
is unique (minimum cuts form a lattice): all pixels from which no residual path leads to the sink.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickcut.kernels import kernel
from clickcut.region import Region

SCALE = 2**24
"""Capacity units per unit of energy. Rounding errs by 2^-25 per weight, and all sums that occur
(`LIMIT` + the weights around a pixel, both directions) stay below 2^29, so int32 holds them."""

LOGIT_LIMIT = 12.0
"""Logits are clipped to +-12: a probability of 6e-6, beyond the accuracy of the network."""

AXIS, DIAGONAL = SCALE, round(SCALE / math.sqrt(2.0))
"""Maximum weight between neighbours at distance 1 and sqrt(2)."""

LIMIT = 4 * AXIS + 4 * DIAGONAL + 1
"""Unaries are clipped here. A pixel whose unary exceeds the sum of its weights keeps its own label
in every minimum cut, and still does after clipping, so clipping changes no minimum cut. It is
also the unary of a seed: a hard constraint."""

OBJECT, SEED, NODE, IDLE = 1, 2, 4, 8
"""Bits of the state byte of a pixel while a cut is computed. OBJECT: its unary, or the excess of
its node, is >= 0. SEED: in a disc around a click. NODE: in the graph. IDLE: a node without
excess."""

DX = np.array([1, -1, 0, 0, 1, -1, -1, 1], np.int64)
DY = np.array([0, 0, 1, -1, 1, -1, 1, -1], np.int64)
"""The eight directions k: E W S N SE NW SW NE. k ^ 1 is opposite to k; the even ones point forward
and weight k / 2 of a pixel belongs to them."""


MAX_SEED_RADIUS = 256.0
"""Maximum radius of a seed disc, image pixels."""


class Samples(NamedTuple):
    """The unary of every pixel of a region, given by the network's samples.

    Attributes:
        value: (S + 1, S + 1) float64, lambda x clipped logit, in capacity units; the last row and
            column are repeated.
        x: (w,) float64, position of each pixel column, in samples: 0..S - 1.
        y: (h,) float64, position of each pixel row.
    """

    value: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def make_samples(
    logits: NDArray[np.float32], width: int, height: int, cut_lambda: float
) -> Samples | None:
    """Lay the samples over a region, as cv2.resize with INTER_LINEAR does.

    Args:
        logits: (S, S) float32.
        width: of the region, pixels.
        height: of the region, pixels.
        cut_lambda: lambda of equation 3.

    Returns:
        None if a logit is NaN or infinite.
    """
    rows, columns = logits.shape
    value = np.empty((rows + 1, columns + 1), np.float64)
    if not _scale(np.ascontiguousarray(logits), cut_lambda, value):
        return None
    return Samples(value, _places(columns, width), _places(rows, height))


@lru_cache(maxsize=16)
def _places(samples: int, pixels: int) -> NDArray[np.float64]:
    """Return the positions of pixel centres between the centres of samples."""
    places = (np.arange(pixels) + 0.5) * (samples / pixels) - 0.5
    return np.clip(places, 0, samples - 1)


@kernel
def _scale(logits: NDArray[np.float32], cut_lambda: float, value: NDArray[np.float64]) -> bool:
    """Clip and scale logits to capacity units; return False if one is not finite."""
    height, width = logits.shape
    finite = True
    unit = cut_lambda * SCALE
    for j in range(height):
        for i in range(width):
            z = np.float64(logits[j, i])
            if not abs(z) < np.inf:
                finite = False
            v = min(max(z, -LOGIT_LIMIT), LOGIT_LIMIT) * unit
            # Numbers this small could underflow in a product and lose their sign.
            value[j, i] = v if abs(v) > 1e-9 else 0.0
        value[j, width] = value[j, width - 1]
    value[height] = value[height - 1]
    return finite


@kernel
def unary_at(value: NDArray[np.float64], x: float, y: float) -> int:
    """Return the unary at (x, y), in samples; capacity units.

    Rounding down keeps the sign exact: it is >= 0 if and only if the interpolated value is, so a
    pixel between samples of one sign is known to have that sign without computing it.
    """
    i, j = int(x), int(y)
    s, t = x - i, y - j
    above = value[j, i] * (1.0 - s) + value[j, i + 1] * s
    below = value[j + 1, i] * (1.0 - s) + value[j + 1, i + 1] * s
    u = math.floor(above * (1.0 - t) + below * t)
    return int(min(max(u, -LIMIT), LIMIT))


@kernel
def unary_with_seeds(value: NDArray[np.float64], state: int, x: float, y: float) -> int:
    """Return the unary of a pixel with a state byte: seeds are hard constraints."""
    if state & SEED:
        return LIMIT if state & OBJECT else -LIMIT
    return unary_at(value, x, y)


@lru_cache(maxsize=16)
def disc_offsets(radius: float) -> NDArray[np.int32]:
    """Return the disc around (0, 0): (M, 3) int32, x, y, squared distance, farthest first."""
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = x * x + y * y
    order = np.argsort(-squared, kind="stable")
    order = order[squared[order] <= radius * radius]
    return np.stack([x[order], y[order], squared[order]], axis=1).astype(np.int32)


@kernel
def stamp_seeds(
    seeds: NDArray[np.int32],
    offsets: NDArray[np.int32],
    x0: int,
    y0: int,
    state: NDArray[np.uint8],
) -> tuple[int, int, int, int]:
    """Set SEED and OBJECT for the pixels in discs around the clicks.

    Where discs overlap, the pixel belongs to the nearest centre, among equals to the later click:
    the parts of all discs at one distance are painted in the order of the clicks, far ones first.

    Args:
        seeds: (N, 3) int32, x and y in image coordinates and sign, in the order made.
        offsets: see `disc_offsets`.
        x0: left column of the region.
        y0: top row of the region.
        state: (h, w) uint8, the region's state bytes; updated.

    Returns:
        x0, y0, x1, y1 (half open) of a rectangle in the region that holds all seed pixels.
    """
    height, width = state.shape
    left, top, right, bottom = width, height, 0, 0
    start = 0
    while start < offsets.shape[0]:
        end = start + 1
        while end < offsets.shape[0] and offsets[end, 2] == offsets[start, 2]:
            end += 1
        for n in range(seeds.shape[0]):
            cx, cy = int(seeds[n, 0]) - x0, int(seeds[n, 1]) - y0
            bits = SEED | OBJECT if seeds[n, 2] > 0 else SEED
            for m in range(start, end):
                x, y = cx + offsets[m, 0], cy + offsets[m, 1]
                if 0 <= x < width and 0 <= y < height:
                    state[y, x] = bits
                    left, top = min(left, x), min(top, y)
                    right, bottom = max(right, x + 1), max(bottom, y + 1)
        start = end
    return left, top, right, bottom


@kernel
def dense_unaries(samples: Samples, state: NDArray[np.uint8], out: NDArray[np.int32]) -> None:
    """Compute the unary of every pixel, for solvers of the full problem.

    Args:
        samples: of the region.
        state: (h, w) uint8, with seeds stamped.
        out: (h, w) int32; filled.
    """
    height, width = state.shape
    value, places_x, places_y = samples
    for y in range(height):
        for x in range(width):
            out[y, x] = unary_with_seeds(value, state[y, x], places_x[x], places_y[y])


def unaries(
    samples: Samples, region: Region, seeds: NDArray[np.int32], seed_radius: float
) -> NDArray[np.int32]:
    """Return all unaries of a region, (h, w) int32, capacity units, seeds included."""
    shape = region.height, region.width
    state = np.zeros(shape, np.uint8)
    out = np.empty(shape, np.int32)
    stamp_seeds(seeds, disc_offsets(seed_radius), region.x0, region.y0, state)
    dense_unaries(samples, state, out)
    return out


def energy_of(unary: NDArray[np.int32], weights: NDArray[np.int32], mask: NDArray[np.bool_]) -> int:
    """Return the energy of a mask in capacity units, up to a constant for all masks.

    Args:
        unary: (h, w) int32, see `unaries`.
        weights: (h, w, 4) int32, see `EdgeWeights.dense`.
        mask: (h, w) bool.
    """
    cost = -int(unary[mask].sum(dtype=np.int64))
    height, width = mask.shape
    for k in range(4):
        dx, dy = int(DX[2 * k]), int(DY[2 * k])
        here = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        there = slice(dy, height), slice(max(0, dx), width + min(0, dx))
        cost += int(weights[..., k][here][mask[here] != mask[there]].sum(dtype=np.int64))
    return cost
