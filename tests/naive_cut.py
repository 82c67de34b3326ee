"""The graph cut, slow and obvious: what the kernels of `clickcut.cut` must equal."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from clickcut.cut.problem import LIMIT, LOGIT_LIMIT, SCALE
from clickcut.region import Region

FORWARD = ((1, 0), (0, 1), (1, 1), (-1, 1))
"""(dx, dy) of E, S, SE, SW."""

Mask = NDArray[np.bool_]
Ints = NDArray[np.int32]
Floats = NDArray[np.float64]


def sigma_of(image: NDArray[np.uint8]) -> float:
    """Root mean squared colour difference over all pairs of neighbours, at least 1."""
    height, width = image.shape[:2]
    squares = []
    for y, x, (dx, dy) in itertools.product(range(height), range(width), FORWARD):
        if 0 <= x + dx < width and y + dy < height:
            squares.append(_squared(image, x, y, dx, dy))
    return max(1.0, math.sqrt(np.mean(squares))) if squares else 1.0


def weights_of(image: NDArray[np.uint8], sigma: float) -> Floats:
    """B of equation 5: (H, W, 4) float64; 0 where there is no neighbour."""
    height, width = image.shape[:2]
    out = np.zeros((height, width, 4))
    for y, x, k in itertools.product(range(height), range(width), range(4)):
        dx, dy = FORWARD[k]
        if 0 <= x + dx < width and y + dy < height:
            contrast = math.exp(-_squared(image, x, y, dx, dy) / (2 * sigma * sigma))
            out[y, x, k] = contrast / math.hypot(dx, dy)
    return out


def _squared(image: NDArray[np.uint8], x: int, y: int, dx: int, dy: int) -> int:
    difference = image[y, x].astype(int) - image[y + dy, x + dx].astype(int)
    return int((difference * difference).sum())


def logits_at_pixels(logits: NDArray[np.float32], width: int, height: int) -> Floats:
    """Bilinear interpolation at pixel centres: (height, width) float64."""
    z = np.clip(logits.astype(np.float64), -LOGIT_LIMIT, LOGIT_LIMIT)
    out = np.empty((height, width))
    for y, x in itertools.product(range(height), range(width)):
        v = min(max((y + 0.5) * z.shape[0] / height - 0.5, 0), z.shape[0] - 1)
        u = min(max((x + 0.5) * z.shape[1] / width - 0.5, 0), z.shape[1] - 1)
        j, i = int(v), int(u)
        j1, i1 = min(j + 1, z.shape[0] - 1), min(i + 1, z.shape[1] - 1)
        above = z[j, i] * (1 - (u - i)) + z[j, i1] * (u - i)
        below = z[j1, i] * (1 - (u - i)) + z[j1, i1] * (u - i)
        out[y, x] = above * (1 - (v - j)) + below * (v - j)
    return out


def seed_signs(seeds: Ints, region: Region, radius: float) -> NDArray[np.int8]:
    """(h, w) int8: 1 object, -1 background, 0 no seed."""
    out = np.zeros((region.height, region.width), np.int8)
    for y, x in itertools.product(range(region.height), range(region.width)):
        best = math.inf
        for sx, sy, sign in seeds.tolist():
            distance = (x + region.x0 - sx) ** 2 + (y + region.y0 - sy) ** 2
            if distance <= radius * radius and distance <= best:
                best = distance
                out[y, x] = 1 if sign > 0 else -1
    return out


def integer_unaries(values: Floats, signs: NDArray[np.int8], cut_lambda: float) -> Ints:
    """Unaries in capacity units, seeds included."""
    u = np.clip(np.floor(values * cut_lambda * SCALE), -LIMIT, LIMIT).astype(np.int32)
    u[signs != 0] = signs[signs != 0].astype(np.int32) * LIMIT
    return u


def without_leaving(weights: NDArray, region: Region) -> NDArray:
    """Weights inside a region; those that leave it are 0."""
    out = weights[region.slices].copy()
    for k, (dx, dy) in enumerate(FORWARD):
        for y, x in itertools.product(range(region.height), range(region.width)):
            if not (0 <= x + dx < region.width and y + dy < region.height):
                out[y, x, k] = 0
    return out


def edges_of(weights: NDArray) -> list[tuple[int, int, float]]:
    """All (pixel, pixel, weight) of (h, w, 4) weights, pixels counted row by row."""
    height, width = weights.shape[:2]
    out = []
    for y, x, k in itertools.product(range(height), range(width), range(4)):
        u, v = x + FORWARD[k][0], y + FORWARD[k][1]
        if 0 <= u < width and v < height:
            out.append((y * width + x, v * width + u, weights[y, x, k].item()))
    return out


def energy(unary: NDArray, weights: NDArray, mask: Mask) -> float:
    """Energy of a mask; unaries count where the mask is object."""
    label = mask.reshape(-1).tolist()
    cost = -sum(
        u for u, is_object in zip(unary.reshape(-1).tolist(), label, strict=True) if is_object
    )
    return cost + sum(w for p, q, w in edges_of(weights) if label[p] != label[q])


def best_of_all(unary: Ints, weights: Ints) -> tuple[Mask, int]:
    """Try every mask: the one of least energy with most object pixels, and how many tie with it."""
    edges = np.array(edges_of(weights), np.int64).reshape(-1, 3)
    count = unary.size
    labels = np.array(list(itertools.product((False, True), repeat=count)))
    cost = -(labels * unary.reshape(-1).astype(np.int64)).sum(1)
    for p, q, w in edges:
        cost += w * (labels[:, p] != labels[:, q])
    best = labels[cost == cost.min()]
    sizes = best.sum(1)
    assert (sizes == sizes.max()).sum() == 1, "the largest minimum cut is unique"
    return best[sizes.argmax()].reshape(unary.shape), len(best)


def pymaxflow(unary: NDArray, weights: NDArray, kind: type) -> Mask:
    """A cold PyMaxflow solve, edge by edge; the mask with most object pixels.

    Args:
        unary: (h, w).
        weights: (h, w, 4).
        kind: `maxflow.GraphInt` or `maxflow.GraphFloat`.
    """
    graph = kind(unary.size, 4 * unary.size)
    graph.add_nodes(unary.size)
    for p, u in enumerate(unary.reshape(-1).tolist()):
        graph.add_tedge(p, max(u, 0), max(-u, 0))
    for p, q, w in edges_of(weights):
        graph.add_edge(p, q, w, w)
    graph.maxflow()
    sink = [graph.get_segment(p) == 1 for p in range(unary.size)]
    return ~np.array(sink, np.bool_).reshape(unary.shape)


def contour_of(unary: Ints) -> Mask:
    """Pixels with a neighbour of the other sign, 0 counting as positive."""
    height, width = unary.shape
    out = np.zeros(unary.shape, np.bool_)
    for y, x, (dx, dy) in itertools.product(range(height), range(width), FORWARD):
        u, v = x + dx, y + dy
        if 0 <= u < width and v < height and (unary[y, x] >= 0) != (unary[v, u] >= 0):
            out[y, x] = out[v, u] = True
    return out


def largest_minimum_cut(unary: Ints, weights: Ints) -> Mask:
    """Maximum flow by shortest augmenting paths; object is what then cannot reach the sink."""
    n, excess = unary.size, unary.reshape(-1).astype(np.int64)
    residual = np.zeros((n + 2, n + 2), np.int64)
    for p, q, w in edges_of(weights):
        residual[p, q] = residual[q, p] = w
    residual[n, :n], residual[:n, n + 1] = np.maximum(excess, 0), np.maximum(-excess, 0)
    while True:
        before = {n: n}
        line = [n]
        for p in line:
            for q in np.flatnonzero(residual[p]).tolist():
                if q not in before:
                    before[q] = p
                    line.append(q)
        if n + 1 not in before:
            break
        path = [n + 1]
        while path[-1] != n:
            path.append(before[path[-1]])
        steps = list(itertools.pairwise(path[::-1]))
        amount = min(residual[p, q] for p, q in steps)
        for p, q in steps:
            residual[p, q] -= amount
            residual[q, p] += amount
    reached = {n + 1}
    line = [n + 1]
    for q in line:
        for p in np.flatnonzero(residual[:, q]).tolist():
            if p not in reached:
                reached.add(p)
                line.append(p)
    return ~np.isin(np.arange(n), sorted(reached)).reshape(unary.shape)
