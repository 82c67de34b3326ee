"""The energy in integers: what both solvers solve, so that their masks are the same.

E(L) = sum of lambda R + sum of B becomes a cut problem with integer capacities: one unit is
1 / `SCALE`. A pixel carries one signed *unary* u (positive: object), a pair of neighbours one edge
weight. The same functions compute them for every solver, hence the optimum is a function of the
problem alone; among several optimal masks the one with the *most* object pixels is the result. It
is unique (minimum cuts form a lattice): all pixels from which no residual path leads to the sink.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clickcut.region import Region

SCALE = 2**24
"""Capacity units per unit of energy. Rounding errs by 2^-25 per weight, and all sums that occur
(`LIMIT` + the weights around a pixel, both directions) stay below 2^29, so int32 holds them."""

LOGIT_LIMIT = 12.0
"""Logits are clipped to +-12: a probability of 6e-6, beyond what the network can mean."""

AXIS, DIAGONAL = SCALE, round(SCALE / math.sqrt(2.0))
"""Largest weight between neighbours at distance 1 and sqrt(2)."""

LIMIT = 4 * AXIS + 4 * DIAGONAL + 1
"""Unaries are clipped here. A pixel whose unary exceeds the sum of its weights keeps its own label
in every minimum cut, and still does after clipping, so clipping changes no minimum cut. It is
also the unary of a seed: a hard constraint."""

OBJECT, TOUCHED, CORE, SEED = 1, 2, 4, 8
"""Bits of the state byte of a pixel while a cut is computed. OBJECT: sign of its unary."""

DX = np.array([1, -1, 0, 0, 1, -1, -1, 1], np.int64)
DY = np.array([0, 0, 1, -1, 1, -1, 1, -1], np.int64)
"""The eight directions k: E W S N SE NW SW NE. k ^ 1 is opposite to k; the even ones point forward
and weight k / 2 of a pixel belongs to them."""


class Samples(NamedTuple):
    """The unary of every pixel of a region, given by the network's samples.

    Attributes:
        value: (S, S) float64, lambda x clipped logit, in capacity units; S >= 2.
        column: (w,) int32, sample to the left of each pixel column, at most S - 2.
        across: (w,) float64, how far the pixel centre is from that sample to the next, 0..1.
        row: (h,) int32, sample above each pixel row.
        down: (h,) float64, as `across`.
    """

    value: NDArray[np.float64]
    column: NDArray[np.int32]
    across: NDArray[np.float64]
    row: NDArray[np.int32]
    down: NDArray[np.float64]


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
        None when a logit is NaN or infinite.
    """
    # One sample is repeated, so that every pixel lies between two of them.
    for axis in (0, 1):
        if logits.shape[axis] == 1:
            logits = np.repeat(logits, 2, axis=axis)
    value = np.empty(logits.shape, np.float64)
    if not _scale(np.ascontiguousarray(logits), cut_lambda, value):
        return None
    column, across = _spread(logits.shape[1], width)
    row, down = _spread(logits.shape[0], height)
    return Samples(value, column, across, row, down)


def _spread(samples: int, pixels: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Where pixel centres lie between samples: the sample before, and the fraction to the next."""
    at = (np.arange(pixels) + 0.5) * (samples / pixels) - 0.5
    at = np.clip(at, 0, samples - 1)
    before = np.minimum(at.astype(np.int32), samples - 2)
    return before, at - before


@njit(cache=True, nogil=True)
def _scale(logits: NDArray[np.float32], cut_lambda: float, value: NDArray[np.float64]) -> bool:
    """Clip and scale logits to capacity units; False when one is not finite."""
    height, width = logits.shape
    finite = True
    for j in range(height):
        for i in range(width):
            z = np.float64(logits[j, i])
            finite &= abs(z) < np.inf
            v = min(max(z, -LOGIT_LIMIT), LOGIT_LIMIT) * cut_lambda * SCALE
            # Numbers so small could vanish in a product, and with them the sign.
            value[j, i] = v if abs(v) > 1e-9 else 0.0
    return finite


@njit(cache=True, nogil=True, inline="always")
def unary_at(samples: Samples, x: int, y: int) -> int:
    """The unary of pixel (x, y) of the region, capacity units.

    Rounding down keeps the sign exact: it is >= 0 if and only if the interpolated value is, so a
    pixel between samples of one sign is known to have that sign without computing it.
    """
    value = samples.value
    j, i = samples.row[y], samples.column[x]
    t, s = samples.across[x], samples.down[y]
    above = value[j, i] * (1.0 - t) + value[j, i + 1] * t
    below = value[j + 1, i] * (1.0 - t) + value[j + 1, i + 1] * t
    u = math.floor(above * (1.0 - s) + below * s)
    return int(min(max(u, -LIMIT), LIMIT))


@njit(cache=True, nogil=True, inline="always")
def unary_with_seeds(samples: Samples, state: int, x: int, y: int) -> int:
    """The unary of pixel (x, y) with its state byte: seeds are hard constraints."""
    if state & SEED:
        return LIMIT if state & OBJECT else -LIMIT
    return unary_at(samples, x, y)


@njit(cache=True, nogil=True)
def stamp_seeds(
    seeds: NDArray[np.int32],
    x0: int,
    y0: int,
    radius: float,
    state: NDArray[np.uint8],
    owner: NDArray[np.int32],
) -> tuple[int, int, int, int]:
    """Set SEED and OBJECT for the pixels in discs around the clicks.

    Where discs overlap, the pixel belongs to the nearest centre, among equals to the later click.

    Args:
        seeds: (N, 3) int32, x and y in image coordinates and sign, in the order made.
        x0: left column of the region.
        y0: top row of the region.
        radius: image pixels; the disc holds the pixels at most this far from the centre.
        state: (h, w) uint8, the region's state bytes; updated.
        owner: (h * w,) int32, scratch.

    Returns:
        x0, y0, x1, y1 (half open) of a rectangle in the region that holds all seed pixels.
    """
    height, width = state.shape
    reach = int(min(radius, 2.0**30))
    limit = radius * radius
    left, top, right, bottom = width, height, 0, 0
    for n in range(seeds.shape[0]):
        cx, cy = np.int64(seeds[n, 0]) - x0, np.int64(seeds[n, 1]) - y0
        xa, xb = max(0, cx - reach), min(width, cx + reach + 1)
        ya, yb = max(0, cy - reach), min(height, cy + reach + 1)
        for y in range(ya, yb):
            for x in range(xa, xb):
                distance = (x - cx) * (x - cx) + (y - cy) * (y - cy)
                if distance > limit:
                    continue
                p = y * width + x
                if state[y, x] & SEED:
                    other = owner[p]
                    ox = x - (np.int64(seeds[other, 0]) - x0)
                    oy = y - (np.int64(seeds[other, 1]) - y0)
                    if distance > ox * ox + oy * oy:
                        continue
                owner[p] = n
                state[y, x] = SEED | (OBJECT if seeds[n, 2] > 0 else 0)
        if xa < xb and ya < yb:
            left, top = min(left, xa), min(top, ya)
            right, bottom = max(right, xb), max(bottom, yb)
    return left, top, right, bottom


@njit(cache=True, nogil=True)
def dense_unaries(samples: Samples, state: NDArray[np.uint8], out: NDArray[np.int32]) -> None:
    """The unary of every pixel: for solvers that take the whole problem.

    Args:
        samples: of the region.
        state: (h, w) uint8, with seeds stamped.
        out: (h, w) int32; filled.
    """
    height, width = state.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = unary_with_seeds(samples, state[y, x], x, y)


def unaries(
    samples: Samples, region: Region, seeds: NDArray[np.int32], seed_radius: float
) -> NDArray[np.int32]:
    """All unaries of a region, (h, w) int32, capacity units, seeds included."""
    shape = region.height, region.width
    state = np.zeros(shape, np.uint8)
    out = np.empty(shape, np.int32)
    stamp_seeds(seeds, region.x0, region.y0, seed_radius, state, out.reshape(-1))
    dense_unaries(samples, state, out)
    return out


def energy_of(
    unary: NDArray[np.int32], weights: NDArray[np.int32], mask: NDArray[np.bool_]
) -> int:
    """Energy of a mask in capacity units, up to a constant that is the same for all masks.

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
