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


def depth(mask):
    """Distance of each set pixel to the nearest unset one, the outside of the image included."""
    padded = np.pad(np.asarray(mask, bool), 1)
    unset = np.argwhere(~padded)
    out = np.zeros(padded.shape, np.float32)
    for row, col in np.argwhere(padded):
        out[row, col] = np.sqrt(((unset - (row, col)) ** 2).sum(1).min())
    return out[1:-1, 1:-1]


def distance_to(mask, x, y):
    """Distance of a pixel to the nearest set one."""
    return float(np.sqrt(((np.argwhere(mask) - (y, x)) ** 2).sum(1).min()))


def farthest_at(candidates, clicked, x, y):
    """f of equation 2 at a pixel: distance to the nearest pixel of G or earlier click."""
    blocked = ~np.asarray(candidates, bool)
    for cx, cy in clicked:
        blocked[cy, cx] = True
    return distance_to(blocked, x, y) if blocked.any() else math.inf


def farthest_value(candidates, clicked):
    """Maximum of f of equation 2 over the candidates."""
    return max(farthest_at(candidates, clicked, x, y) for y, x in np.argwhere(candidates))
