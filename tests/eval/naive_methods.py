"""Slow, obvious versions of what the compared methods compute."""

from __future__ import annotations

import heapq
import itertools

import numpy as np

NEIGHBOURS = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)]
"""(dy, dx) in the order of `clickcut.cut.problem.DX` and `DY`."""


def edge(array, y, x, k):
    """The value of the edge from pixel (y, x) in direction k; None when it leaves the image."""
    dy, dx = NEIGHBOURS[k]
    v, u = y + dy, x + dx
    if not (0 <= v < array.shape[0] and 0 <= u < array.shape[1]):
        return None
    return array[y, x, k // 2] if k % 2 == 0 else array[v, u, k // 2]


def distances(costs, sources):
    """Dijkstra with a heap: cost of the cheapest path to any source pixel, (H, W)."""
    out = np.full(costs.shape[:2], np.inf)
    heap = [(0, y, x) for y, x in zip(*np.nonzero(sources), strict=True)]
    for _, y, x in heap:
        out[y, x] = 0
    while heap:
        now, y, x = heapq.heappop(heap)
        if now > out[y, x]:
            continue
        for k, (dy, dx) in enumerate(NEIGHBOURS):
            cost = edge(costs, y, x, k)
            if cost is not None and now + cost < out[y + dy, x + dx]:
                out[y + dy, x + dx] = now + cost
                heapq.heappush(heap, (now + cost, y + dy, x + dx))
    return out


def growcut(colours, seeds, steps=500):
    """The cellular automaton of the paper, all cells at once, until nothing changes."""
    most = np.linalg.norm(colours, axis=2).max()
    label, strength = seeds.astype(int), (seeds > 0).astype(float)
    height, width = label.shape
    for _ in range(steps):
        new_label, new_strength = label.copy(), strength.copy()
        for y, x, (dy, dx) in itertools.product(range(height), range(width), NEIGHBOURS):
            v, u = y + dy, x + dx
            if 0 <= v < height and 0 <= u < width:
                attack = 1 - np.linalg.norm(colours[y, x] - colours[v, u]) / most
                if attack * strength[v, u] > new_strength[y, x]:
                    new_label[y, x], new_strength[y, x] = label[v, u], attack * strength[v, u]
        if (new_strength == strength).all():
            return label, strength
        label, strength = new_label, new_strength
    raise AssertionError("the automaton did not come to rest")


def least_star_energy(unary, weights, parents, fixed, no_parent):
    """All masks tried: the least energy of one in which no object pixel has a background parent.

    Returns the energy and whether a given mask is admissible, as functions.
    """
    height, width = unary.shape

    def energy(mask):
        total = -int(unary[mask].sum())
        for y, x, k in itertools.product(range(height), range(width), range(0, 8, 2)):
            weight = edge(weights, y, x, k)
            if weight is not None:
                dy, dx = NEIGHBOURS[k]
                total += int(weight) * int(mask[y, x] != mask[y + dy, x + dx])
        return total

    def admissible(mask):
        if (mask[fixed == 2]).any() or (~mask[fixed == 1]).any():
            return False
        for y, x in zip(*np.nonzero(mask & (parents != no_parent)), strict=True):
            dy, dx = NEIGHBOURS[parents[y, x]]
            if not mask[y + dy, x + dx]:
                return False
        return True

    masks = (
        np.array(bits, bool).reshape(height, width)
        for bits in itertools.product([False, True], repeat=height * width)
    )
    return min(energy(m) for m in masks if admissible(m)), energy, admissible


def densities(cells, chosen, image_share, sigma, floor, bins):
    """A kernel density by its definition: a Gaussian around each chosen cell."""
    axes = np.arange(bins)
    grid = np.zeros((bins,) * 3)
    for cell, weight in itertools.chain(((c, 1.0) for c in chosen), image_share):
        kernel = [np.exp(-0.5 * ((axes - c) / s) ** 2) for c, s in zip(cell, sigma, strict=True)]
        for k, s in zip(kernel, sigma, strict=True):
            reach = np.exp(-0.5 * (np.arange(-bins, bins + 1) / s) ** 2)
            k /= reach.sum()
        grid += weight * np.einsum("i,j,k->ijk", *kernel)
    return (1 - floor) * grid / grid.sum() + floor / bins**3


def gaussian_filter(features, values):
    """Every point gets the values of all points, weighted by exp(-distance^2 / 2)."""
    squared = ((features[:, None] - features[None]) ** 2).sum(2)
    return np.exp(-squared / 2) @ values
