"""Simulated clicks for training (paper section 3.2, then iterative corrections).

Clicks are (x, y) integer pixels of the training crop. Every function takes the random generator it
uses, so that a sample is reproducible from its seed.
"""

from __future__ import annotations

import cv2
import numpy as np

Click = tuple[int, int]

RING_WIDTH = 40
"""d of the paper: how far from the object negative clicks are drawn, in pixels."""
STEP = 10
"""d_step: least distance between two clicks of one sign. The paper gives no value."""
MARGIN = 5
"""d_margin: least distance of a click from the object's boundary. The paper gives no value."""


def depth(mask: np.ndarray) -> np.ndarray:
    """Distance of every set pixel to the nearest unset one or to the outside of the image.

    Args:
        mask: (H, W) bool or uint8.

    Returns:
        (H, W) float32, pixels; 0 where the mask is unset.
    """
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


def random_pixel(allowed: np.ndarray, rng: np.random.Generator) -> Click | None:
    """A uniformly drawn set pixel of `allowed` (H, W), or None when there is none."""
    flat = np.flatnonzero(allowed)
    if flat.size == 0:
        return None
    y, x = divmod(int(flat[rng.integers(flat.size)]), allowed.shape[1])
    return x, y


def spread_pixels(allowed: np.ndarray, count: int, rng: np.random.Generator) -> list[Click]:
    """Up to `count` random pixels of `allowed` (H, W), at least `STEP` apart."""
    free = allowed.astype(bool)
    rows, columns = np.ogrid[: free.shape[0], : free.shape[1]]
    chosen: list[Click] = []
    while len(chosen) < count and (pixel := random_pixel(free, rng)) is not None:
        chosen.append(pixel)
        x, y = pixel
        free &= (columns - x) ** 2 + (rows - y) ** 2 >= STEP**2
    return chosen


def positive_clicks(target: np.ndarray, count: int, rng: np.random.Generator) -> list[Click]:
    """Up to `count` clicks on the object, `STEP` apart and, where it is thick, `MARGIN` inside."""
    inside = depth(target)
    allowed = inside > min(MARGIN, 0.5 * float(inside.max()))
    return spread_pixels(allowed, count, rng)


def ring(target: np.ndarray) -> np.ndarray:
    """G^c of the paper: background within `RING_WIDTH` of the object, (H, W) bool."""
    distance = cv2.distanceTransform(
        (target == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    return (distance > MARGIN) & (distance < RING_WIDTH)


def negatives_in_ring(target: np.ndarray, count: int, rng: np.random.Generator) -> list[Click]:
    """Strategy 1: up to `count` clicks drawn uniformly in the ring around the object."""
    return spread_pixels(ring(target), count, rng)


def negatives_on_others(
    others: list[np.ndarray], count: int, rng: np.random.Generator
) -> list[Click]:
    """Strategy 2: up to `count` clicks on each other object."""
    return [c for other in others for c in positive_clicks(other, count, rng)]


def negatives_around(target: np.ndarray, count: int, rng: np.random.Generator) -> list[Click]:
    """Strategy 3: clicks that surround the object, each farthest from it and the others (eq. 2)."""
    candidates = ring(target)
    first = random_pixel(candidates, rng)
    if first is None:
        return []
    chosen = [first]
    outside_g = (candidates & (target == 0)).astype(np.uint8)
    while len(chosen) < count:
        free = outside_g.copy()
        for x, y in chosen:
            free[y, x] = 0
        distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        y, x = divmod(int(distance.argmax()), target.shape[1])
        if distance[y, x] <= 0:
            break
        chosen.append((x, y))
    return chosen


def correction(
    selected: np.ndarray,
    target: np.ndarray,
    ignore: np.ndarray,
    taken: list[Click],
    rng: np.random.Generator,
) -> tuple[Click, bool] | None:
    """The next simulated click: a random pixel of the worse error, deeper than half its maximum.

    Args:
        selected: (H, W) bool, the model's current selection.
        target: (H, W) bool, the object.
        ignore: (H, W) bool, pixels that count as neither right nor wrong.
        taken: clicked pixels, not clicked again.
        rng: source of randomness.

    Returns:
        The click and whether it is positive; None when nothing is wrong.
    """
    missed = depth(target & ~selected & ~ignore)
    excess = depth(selected & ~target & ~ignore)
    for x, y in taken:
        missed[y, x] = excess[y, x] = 0
    deepest_missed, deepest_excess = float(missed.max()), float(excess.max())
    positive = deepest_missed > deepest_excess
    error, deepest = (missed, deepest_missed) if positive else (excess, deepest_excess)
    if deepest <= 0:
        return None
    pixel = random_pixel(error > deepest / 2, rng)
    return None if pixel is None else (pixel, positive)
