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


def surroundings(target, width):
    """G^c of the paper: background pixels nearer to the object than `width`."""
    out = np.zeros(target.shape, bool)
    if not target.any():
        return out
    for row, col in np.argwhere(~np.asarray(target, bool)):
        out[row, col] = distance_to(target, col, row) < width
    return out


def click_pixels(mask, margin):
    """Pixels of an object at least `margin` deep; its inner half where it is thin everywhere."""
    into = depth(mask)
    return into >= margin if into.max() >= margin else into > into.max() / 2


def ring(target, ignore, width, margin):
    """Where strategy 1 clicks: G^c without ignored pixels and those near the outline."""
    out = surroundings(target, width) & ~ignore
    for row, col in np.argwhere(out):
        out[row, col] = distance_to(target, col, row) >= margin
    return out


def farthest(target, ignore, width, clicked):
    """Equation 2 by its definition: the largest f(p | S0 + G) over G^c, and where it is reached."""
    g = ~surroundings(target, width)
    blocked = g.copy()
    for x, y in clicked:
        blocked[y, x] = True
    value = {
        (int(col), int(row)): distance_to(blocked, col, row) if blocked.any() else math.inf
        for row, col in np.argwhere(~g & ~ignore)
    }
    best = max(value.values())
    return best, {pixel for pixel, v in value.items() if v >= best - 1e-4}


def correction_pixels(selected, target, ignore, taken):
    """Where a simulated correction may fall, and whether it is positive."""
    errors = [depth(target & ~selected & ~ignore), depth(selected & ~target & ~ignore)]
    for x, y in taken:
        for error in errors:
            error[y, x] = 0
    positive = errors[0].max() > errors[1].max()
    error = errors[0] if positive else errors[1]
    return {(int(col), int(row)) for row, col in np.argwhere(error > error.max() / 2)}, positive


def outline(mask):
    """Pixels of a mask that are not alone with their label in their 3 x 3 neighbourhood."""
    height, width = mask.shape
    out = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            around = mask[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            out[y, x] = around.any() and not around.all()
    return out


def thinned(points, starts, fixed, tolerance, rounds, most):
    """Which points of outlines are kept, by the definition of `clickcut.polygons.thinning.thin`."""

    def distance(p, a, c):
        along, offset = c - a, p - a
        length = float(along @ along)
        t = min(max(float(offset @ along) / length, 0.0), 1.0) if length else 0.0
        return float(np.hypot(*(offset - t * along)))

    def side(a, b, p):
        return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])

    points = np.asarray(points, np.int64)
    kept = np.ones(len(points), bool)
    rings = [list(range(starts[k], starts[k + 1])) for k in range(len(starts) - 1)]
    for share in rounds:
        for ring in rings:
            for b in ring:
                there = [k for k in ring if kept[k]]
                if len(there) <= 3 or fixed[b] or not kept[b]:
                    continue
                a = there[there.index(b) - 1]
                c = there[(there.index(b) + 1) % len(there)]
                turned = ring[ring.index(a) :] + ring[: ring.index(a)]
                between = turned[1 : turned.index(c)]
                near = [distance(points[k], points[a], points[c]) for k in between]
                if len(between) > most or max(near) > share * tolerance + 1e-12:
                    continue
                corners = points[a], points[b], points[c]
                turn = side(*corners)
                inside = [
                    all(
                        np.sign(turn) * side(corners[k], corners[(k + 1) % 3], points[at]) >= 0
                        for k in range(3)
                    )
                    for at in np.flatnonzero(kept)
                    if at not in (a, b, c)
                ]
                if turn == 0 or not any(inside):
                    kept[b] = False
    return kept


def area_average(pixels, region, size):
    """(size, size, 3) float64: the mean colour of the part of a region that each pixel covers."""
    out = np.zeros((size, size, 3))
    for j in range(size):
        for i in range(size):
            top, bottom = (region.y0 + k * region.height / size for k in (j, j + 1))
            left, right = (region.x0 + k * region.width / size for k in (i, i + 1))
            total = 0.0
            for y in range(region.y0, region.y1):
                for x in range(region.x0, region.x1):
                    high = max(0.0, min(y + 1, bottom) - max(y, top))
                    wide = max(0.0, min(x + 1, right) - max(x, left))
                    out[j, i] += high * wide * pixels[y, x]
                    total += high * wide
            out[j, i] /= total
    return out


def block_means(pixels, side):
    """The mean of each block, border pixels repeated, float64."""
    height, width = pixels.shape[:2]
    out = np.zeros((-(-height // side), -(-width // side), 3))
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            for y in range(j * side, (j + 1) * side):
                for x in range(i * side, (i + 1) * side):
                    out[j, i] += pixels[min(y, height - 1), min(x, width - 1)] / side**2
    return out
