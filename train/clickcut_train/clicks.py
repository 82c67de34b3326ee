"""Simulated clicks for training: the paper's strategies (section 3.2), then corrections.

Clicks are (x, y) integer pixels of the training crop; masks are (H, W), True = set. Every function
takes the random generator that it uses, so that a sample is reproducible from its seed. Names of
the paper: O is the object, G is the object with everything at least d away from it, and its
complement G^c, here the *surroundings*, is the band of background around the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.clicker import depth

Click = tuple[int, int]
Mask = NDArray[np.bool_]

RING_WIDTH = 40
"""d: width of the surroundings, pixels."""
MAX_POSITIVE = 5
"""N_pos: positive clicks are 1 to this many."""
MAX_IN_RING = 10
"""N_neg1: clicks of strategy 1 are 0 to this many."""
MAX_ON_EACH_OTHER = 5
"""N_neg2: clicks of strategy 2 are 0 to this many on each other object."""
AROUND = 10
"""N_neg3: clicks of strategy 3."""
STEP = 10
"""d_step: least distance between two clicks of one sign, pixels. The paper gives no value: two
discs of radius 5, as clicks are shown to a network, then touch at most."""
MARGIN = 5
"""d_margin: least distance of a click from the object's outline, pixels. The paper gives no value:
the disc of a click then stays on its side of the outline."""


def _distance_to_unset(mask: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def random_pixel(allowed: Mask, rng: np.random.Generator) -> Click | None:
    """A uniformly drawn set pixel of `allowed` (H, W), or None when there is none."""
    flat = np.flatnonzero(allowed)
    if flat.size == 0:
        return None
    y, x = divmod(int(flat[rng.integers(flat.size)]), allowed.shape[1])
    return x, y


def spread_pixels(
    allowed: Mask, count: int, rng: np.random.Generator, step: int = STEP
) -> list[Click]:
    """Up to `count` random pixels of `allowed` (H, W), at least `step` apart; fewer if full."""
    flat = np.flatnonzero(allowed)
    chosen: list[Click] = []
    while len(chosen) < count and flat.size:
        y, x = divmod(int(flat[rng.integers(flat.size)]), allowed.shape[1])
        chosen.append((x, y))
        rows, columns = np.divmod(flat, allowed.shape[1])
        flat = flat[(columns - x) ** 2 + (rows - y) ** 2 >= step**2]
    return chosen


def inside(mask: NDArray[Any], margin: int = MARGIN) -> Mask:
    """Pixels of an object at least `margin` from its outline, (H, W) bool.

    An object that is nowhere that thick keeps its inner half, so that thin things get clicks too.
    """
    into = depth(mask)
    thickest = float(into.max(initial=0.0))
    return into >= margin if thickest >= margin else into > thickest / 2


def surroundings(target: NDArray[Any], width: int = RING_WIDTH) -> Mask:
    """G^c: background nearer to the object than `width` pixels; (H, W) bool."""
    distance = _distance_to_unset((target == 0).astype(np.uint8))
    return (distance > 0) & (distance < width)


def positive_clicks(
    target: NDArray[Any],
    count: int,
    rng: np.random.Generator,
    step: int = STEP,
    margin: int = MARGIN,
) -> list[Click]:
    """Up to `count` clicks in O, `step` from one another and `margin` from the outline."""
    return spread_pixels(inside(target, margin), count, rng, step)


def negatives_in_ring(
    target: NDArray[Any],
    ignore: Mask,
    count: int,
    rng: np.random.Generator,
    width: int = RING_WIDTH,
    step: int = STEP,
    margin: int = MARGIN,
) -> list[Click]:
    """Strategy 1: up to `count` clicks drawn uniformly in G^c, filtered as positive ones are."""
    distance = _distance_to_unset((target == 0).astype(np.uint8))
    ring = (distance >= margin) & (distance < width) & ~ignore
    return spread_pixels(ring, count, rng, step)


def negatives_on_others(
    others: Iterable[NDArray[Any]],
    max_on_each: int,
    rng: np.random.Generator,
    step: int = STEP,
    margin: int = MARGIN,
) -> list[Click]:
    """Strategy 2: on each other object, 0 to `max_on_each` clicks, drawn as positive ones are."""
    clicks: list[Click] = []
    for other in others:
        clicks += positive_clicks(other, int(rng.integers(0, max_on_each + 1)), rng, step, margin)
    return clicks


def negatives_around(
    target: NDArray[Any],
    ignore: Mask,
    count: int,
    rng: np.random.Generator,
    width: int = RING_WIDTH,
) -> list[Click]:
    """Strategy 3: clicks that cover the object's surroundings evenly (equation 2).

    The first is drawn in G^c; each following one is the pixel of G^c that is farthest from G and
    the earlier ones. Fewer than `count` when G^c has fewer pixels.
    """
    outside_g = surroundings(target, width)
    candidates = outside_g & ~ignore
    first = random_pixel(candidates, rng)
    if first is None:
        return []
    # f(p | S0 + G) is the smaller of f(p | G), once, and the distance to each click as it comes.
    rows, columns = np.nonzero(candidates)
    squared = _distance_to_unset(outside_g.astype(np.uint8))[rows, columns] ** 2
    chosen = [first]
    while len(chosen) < count:
        x, y = chosen[-1]
        np.minimum(squared, (columns - x) ** 2 + (rows - y) ** 2, out=squared)
        best = int(squared.argmax())
        if squared[best] <= 0:
            break
        chosen.append((int(columns[best]), int(rows[best])))
    return chosen


def correction(
    selected: Mask,
    target: Mask,
    ignore: Mask,
    taken: Sequence[Click],
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
