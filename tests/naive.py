"""Slow, obvious versions of the compiled kernels."""

from __future__ import annotations

import math

import numpy as np


def distance_map(shape, points):
    """Equation 1 of the paper by its definition."""
    out = np.full(shape, 255.0, np.float32)
    for row in range(shape[0]):
        for col in range(shape[1]):
            for x, y in points:
                out[row, col] = min(out[row, col], math.hypot(row - y, col - x))
    return out


def disc_map(shape, points, radius):
    """1 at most `radius` from a point, else 0."""
    out = np.zeros(shape, np.float32)
    for row in range(shape[0]):
        for col in range(shape[1]):
            for x, y in points:
                if (row - y) ** 2 + (col - x) ** 2 <= radius**2:
                    out[row, col] = 1.0
    return out
