"""Refine a region: the network once more, on a crop around the last click.

The network decides at a quarter of its input's resolution, so a click on a detail changes more or
less than the detail. On a crop around the click the same network sees it larger; its output is
blended into the region's, with weights that fall off towards the edges of the crop. The cut gets
the blend at the crop's resolution (benchmarks/results/refine.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.bundle.metadata import RegionPolicy
from clickcut.clicks import Point
from clickcut.cut.problem import LOGIT_LIMIT
from clickcut.region import Region, around_points, part_around
from clickcut.resample import move
from clickcut.selection import Selection

FALL_OFF = 0.5
"""Part of the crop's side along each edge in which its weight falls off to 0: up to the middle."""


class Refinement(NamedTuple):
    """The network's output on a crop of the region.

    Attributes:
        crop: inside the region.
        logits: (S, S) float16 over the crop: states are stored for undo, and its accuracy suffices.
    """

    crop: Region
    logits: NDArray[np.float16]

    @staticmethod
    def of(crop: Region, logits: NDArray[np.float32]) -> Refinement:
        """Return the refinement by logits (S, S) float32 over a crop."""
        # Clipped as the cut does, so that none overflows; NaN stays, and the cut refuses it.
        return Refinement(crop, np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float16))


def crop_around(points: list[Point], region: Region, policy: RegionPolicy) -> Region | None:
    """Return the crop in which a click is refined; None if it cannot be.

    Args:
        points: of the click or stroke, (x, y).
        region: of the last prediction.
        policy: of the bundle.
    """
    clicked = around_points(points)
    if clicked is None or not region.contains(clicked):
        return None
    centre = (clicked.x0 + clicked.x1 - 1) // 2, (clicked.y0 + clicked.y1 - 1) // 2
    crop = part_around(region, centre, policy.refine)
    if min(crop.width, crop.height) < policy.min_side or not crop.contains(clicked):
        return None
    return crop


def depth_of(selection: Selection, region: Region, points: list[Point], size: int) -> float:
    """Return how far a click is from the outline of a selection, as a share of a region's side.

    Args:
        selection: before the click.
        region: in which the outline is looked for.
        points: of the click or stroke, (x, y); the last one counts.
        size: samples along each side at which the distance is computed.

    Returns:
        1 if there is no outline in the region, or the point lies outside.
    """
    if not points or not region.holds(*points[-1]):
        return 1.0
    x, y = points[-1]
    mask = selection.inside(region).view(np.uint8)
    small = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    column = int((x - region.x0 + 0.5) * size / region.width)
    row = int((y - region.y0 + 0.5) * size / region.height)
    same = (small == small[row, column]).astype(np.uint8)
    if same.all():
        return 1.0
    distance = cv2.distanceTransform(same, cv2.DIST_L2, cv2.DIST_MASK_5)
    return min(1.0, float(distance[row, column]) / size)


def blended(
    logits: NDArray[np.float32],
    region: Region,
    refinement: Refinement | None,
    fine: bool = False,
) -> NDArray[np.float32]:
    """Return the logits of a region with its refinement.

    Args:
        logits: (S, S) float32 over the region.
        region: that they cover.
        refinement: of it, or None.
        fine: at the resolution of the crop, but at most that of the image; else (S, S).

    Returns:
        (h, w) float32 over the region; `logits` itself without a refinement.
    """
    if refinement is None:
        return logits
    crop, found = refinement.crop, refinement.logits.astype(np.float32)
    size = len(logits)
    shape = (size, size)
    if fine:
        shape = (
            max(size, min(region.height, math.ceil(size * region.height / crop.height))),
            max(size, min(region.width, math.ceil(size * region.width / crop.width))),
        )
    weights = crop_weights(crop, region, shape)
    base = move(logits, region, region, None, shape)
    return base + weights * (move(found, crop, region, None, shape) - base)


def crop_weights(crop: Region, region: Region, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the weight of a crop's output over its region, `shape` float32 in [0, 1].

    It falls off towards the edges of the crop, but not where the region ends as well.

    Args:
        crop: inside the region.
        region: that is refined.
        shape: rows and columns of samples over the region.
    """
    weights: NDArray[np.float32] = np.outer(
        _weights(shape[0], region.y0, region.y1, crop.y0, crop.y1),
        _weights(shape[1], region.x0, region.x1, crop.x0, crop.x1),
    )
    return weights


def _weights(samples: int, start: int, end: int, first: int, last: int) -> NDArray[np.float32]:
    """Return the crop's weight along one axis, (samples,) float32.

    Args:
        samples: over the region.
        start: first pixel of the region.
        end: behind its last pixel.
        first: first pixel of the crop.
        last: behind its last pixel.
    """
    places = start + (np.arange(samples) + 0.5) * ((end - start) / samples)
    reach = FALL_OFF * (last - first)
    rise = np.full(samples, 1.0) if first == start else (places - first) / reach
    fall = np.full(samples, 1.0) if last == end else (last - places) / reach
    inside: NDArray[np.float32] = np.clip(np.minimum(rise, fall), 0, 1).astype(np.float32)
    return inside
