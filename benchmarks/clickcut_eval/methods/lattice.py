"""Gaussian filtering in five dimensions on the permutohedral lattice (Adams, Baek, Davis 2010).

Pixels are points (x, y, r, g, b) in units of the filter's standard deviations. Their values are
splatted onto the corners of the simplex around them, blurred along the six directions of the
lattice, and read back with the same weights: an approximation of the Gaussian filter at a cost
linear in pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clickcut.kernels import kernel

D = 5
"""Dimensions."""

_BITS, _OFFSET = 12, 2048
"""A lattice point's coordinates, each in -2048..2047, are packed into one integer."""

_ONES = sum(1 << (_BITS * i) for i in range(D))

MAX_FEATURE = 250.0
"""Features are at most so many standard deviations, so that packed coordinates fit."""


class Lattice:
    """The lattice of some points.

    Args:
        features: (N, 5) float32, points in units of standard deviations; 0..`MAX_FEATURE`.

    Raises:
        ValueError: features of a wrong shape or out of range.
    """

    def __init__(self, features: NDArray[np.float32]) -> None:
        if features.ndim != 2 or features.shape[1] != D:
            raise ValueError(f"features must have shape (N, {D}), got {features.shape}")
        if not (features.min() >= 0 and features.max() <= MAX_FEATURE):
            raise ValueError(f"features must lie in 0..{MAX_FEATURE:g}: choose wider kernels")
        self._corner, self._weight, keys = _embed(np.ascontiguousarray(features, np.float32))
        self._neighbours = _neighbours(keys)

    def filter(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The filtered values, up to a constant factor: (N, C) float32 -> (N, C) float32."""
        return _filter(self._corner, self._weight, self._neighbours, values)


@kernel
def _embed(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Corners of the simplex around each point and their weights; packed keys of all corners.

    Returns:
        (N, 6) int32 numbers of corners, (N, 6) float32 barycentric weights, (M,) int64 keys.
    """
    count = features.shape[0]
    corner = np.empty((count, D + 1), np.int32)
    weight = np.empty((count, D + 1), np.float32)
    spread = math.sqrt(2.0 / 3.0) * (D + 1)
    scale = np.array([spread / math.sqrt((i + 1.0) * (i + 2.0)) for i in range(D)])
    size = 1
    while size < 2 * count * (D + 1):
        size *= 2
    table = np.full(size, -1, np.int32)
    keys = np.empty(count * (D + 1), np.int64)
    found = 0
    elevated, base = np.empty(D + 1), np.empty(D + 1, np.int64)
    rank, part = np.empty(D + 1, np.int64), np.empty(D + 2)
    for n in range(count):
        total = 0.0
        for j in range(D, 0, -1):
            f = features[n, j - 1] * scale[j - 1]
            elevated[j] = total - j * f
            total += f
        elevated[0] = total
        # The nearest lattice point of remainder 0, and the order of the differences to it.
        excess = 0
        for i in range(D + 1):
            whole = math.floor(elevated[i] / (D + 1) + 0.5)
            base[i] = whole * (D + 1)
            excess += whole
            rank[i] = 0
        for i in range(D):
            for j in range(i + 1, D + 1):
                if elevated[i] - base[i] < elevated[j] - base[j]:
                    rank[i] += 1
                else:
                    rank[j] += 1
        for i in range(D + 1):
            rank[i] += excess
            if rank[i] < 0:
                rank[i] += D + 1
                base[i] += D + 1
            elif rank[i] > D:
                rank[i] -= D + 1
                base[i] -= D + 1
        part[:] = 0.0
        for i in range(D + 1):
            share = (elevated[i] - base[i]) / (D + 1)
            part[D - rank[i]] += share
            part[D + 1 - rank[i]] -= share
        part[0] += 1.0 + part[D + 1]
        for remainder in range(D + 1):
            key = np.int64(0)
            for i in range(D):
                shift = remainder if rank[i] <= D - remainder else remainder - (D + 1)
                key += np.int64(base[i] + shift + _OFFSET) << (_BITS * i)
            place = _hash(key, size)
            while table[place] >= 0 and keys[table[place]] != key:
                place = (place + 1) & (size - 1)
            if table[place] < 0:
                table[place] = found
                keys[found] = key
                found += 1
            corner[n, remainder] = table[place]
            weight[n, remainder] = part[remainder]
    return corner, weight, keys[:found].copy()


@kernel
def _hash(key: np.int64, size: int) -> np.int64:
    """A place in a table; no product exceeds 63 bits, so it is the same without the compiler."""
    folded = (key ^ (key >> np.int64(29))) & np.int64(0x7FFFFFFF)
    return ((folded * np.int64(0x9E3779B1)) >> np.int64(24)) & np.int64(size - 1)


@kernel
def _neighbours(keys: NDArray[np.int64]) -> NDArray[np.int32]:
    """Both neighbours of every lattice point in each direction, (6, M, 2) int32; -1 = none."""
    count = keys.size
    size = 1
    while size < 2 * count:
        size *= 2
    table = np.full(size, -1, np.int32)
    for n in range(count):
        place = _hash(keys[n], size)
        while table[place] >= 0:
            place = (place + 1) & (size - 1)
        table[place] = n
    out = np.full((D + 1, count, 2), -1, np.int32)
    for j in range(D + 1):
        step = np.int64(_ONES)
        if j < D:
            step -= np.int64(D + 1) << (_BITS * j)
        for n in range(count):
            for side in range(2):
                key = keys[n] + step if side == 0 else keys[n] - step
                place = _hash(key, size)
                while table[place] >= 0 and keys[table[place]] != key:
                    place = (place + 1) & (size - 1)
                out[j, n, side] = table[place]
    return out


@kernel
def _filter(
    corner: NDArray[np.int32],
    weight: NDArray[np.float32],
    neighbours: NDArray[np.int32],
    values: NDArray[np.float32],
) -> NDArray[np.float32]:
    count, channels = values.shape
    points = neighbours.shape[1]
    held, blurred = (
        np.zeros((points, channels), np.float32),
        np.zeros((points, channels), np.float32),
    )
    for n in range(count):
        for k in range(D + 1):
            for c in range(channels):
                held[corner[n, k], c] += weight[n, k] * values[n, c]
    half = np.float32(0.5)
    for j in range(D + 1):
        for m in range(points):
            a, b = neighbours[j, m, 0], neighbours[j, m, 1]
            for c in range(channels):
                value = held[m, c]
                if a >= 0:
                    value += half * held[a, c]
                if b >= 0:
                    value += half * held[b, c]
                blurred[m, c] = value
        held, blurred = blurred, held
    out = np.zeros((count, channels), np.float32)
    for n in range(count):
        for k in range(D + 1):
            for c in range(channels):
                out[n, c] += weight[n, k] * held[corner[n, k], c]
    return out
