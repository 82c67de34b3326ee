"""What is to be selected on a photo: an instance, touching instances as one, or a part of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from clickcut_train.data.photo import Photo

TOUCHING = 3
"""Instances at most this far apart touch, pixels of the photo."""
MIN_PART_AREA = 200
"""Parts of fewer pixels of the photo are no target of their own."""
ON_TOP = 0.5
"""An instance is on another one when more than this share of it is inside."""
LOBE_DEPTH = 0.3, 0.7
"""How far an object is eroded to find its lobes, of its greatest depth."""
MAX_LOBE = 0.6
"""A lobe is at most this share of its object."""

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class ChosenObject:
    """The object to select on a photo.

    Attributes:
        photo: the photo.
        mask: (H, W) uint8, 1 = the object.
        instances: what it is made of; more than one where touching ones are merged.
        rest: (H, W) uint8, what the instance has beside the target, when that is a part of it.
    """

    photo: Photo
    mask: Mask
    instances: tuple[int, ...]
    rest: Mask | None = None

    def others(self) -> Iterator[Mask]:
        """The other objects, (H, W) uint8 each, without what they share with the target."""
        background = 1 - self.mask
        if self.rest is not None and self.rest.any():
            yield self.rest
        for index in range(len(self.photo.rles)):
            # Overlapping annotations (a person's tie) stay part of the target.
            if index not in self.instances and (other := self.photo.mask(index) & background).any():
                yield other


def choose_target(
    photo: Photo,
    rng: np.random.Generator,
    area_exponent: float = 0.0,
    merge: float = 0.0,
    part: float = 0.0,
    lobe: float = 0.0,
) -> ChosenObject:
    """Draw the object to select.

    Args:
        photo: with at least one instance; its `chosen` instance is taken where it names one.
        rng: source of randomness.
        area_exponent: an instance is drawn with its area to this power; 0: all alike.
        merge: probability that an instance and one that touches it are one target.
        part: probability that, of an instance that has any, a part is the target: one of its
            unconnected pieces, or a smaller instance that lies on it.
        lobe: probability that, of an instance that has any, a lobe is the target: a part that a
            neck joins to the rest, as a head or a wheel.
    """
    index = _instance(photo, rng, area_exponent)
    mask = photo.mask(index)
    if part and rng.random() < part and (found := _part(photo, index, mask, rng)) is not None:
        return found
    if lobe and rng.random() < lobe and (shape := _lobe(mask, rng)) is not None:
        return ChosenObject(photo, shape, (index,), mask & (1 - shape))
    if merge and rng.random() < merge and (other := _touching(photo, index, mask, rng)) is not None:
        return ChosenObject(photo, mask | photo.mask(other), (index, other))
    return ChosenObject(photo, mask, (index,))


def _instance(photo: Photo, rng: np.random.Generator, area_exponent: float) -> int:
    if photo.chosen is not None:
        return photo.chosen
    if not area_exponent:
        return int(rng.integers(len(photo.rles)))
    shares = photo.areas() ** area_exponent
    return int(rng.choice(len(shares), p=shares / shares.sum()))


def _touching(photo: Photo, index: int, mask: Mask, rng: np.random.Generator) -> int | None:
    """An instance that touches the one given, or None."""
    side = 2 * TOUCHING + 1
    grown = np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)), np.uint8)
    boxes = coco_mask.toBbox(list(photo.rles))  # x, y, width, height
    x, y, w, h = boxes[index] + (-TOUCHING, -TOUCHING, 2 * TOUCHING, 2 * TOUCHING)
    near = (boxes[:, 0] < x + w) & (boxes[:, 1] < y + h)
    near &= (boxes[:, 0] + boxes[:, 2] > x) & (boxes[:, 1] + boxes[:, 3] > y)
    for other in rng.permutation(np.flatnonzero(near)):
        if other != index and (photo.mask(int(other)) & grown).any():
            return int(other)
    return None


def _part(photo: Photo, index: int, mask: Mask, rng: np.random.Generator) -> ChosenObject | None:
    """A piece of the instance, or a smaller instance on it, that is selectable by itself."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    pieces = [k + 1 for k in range(count - 1) if areas[k] >= MIN_PART_AREA]
    options: list[tuple[str, int]] = []
    if len(pieces) > 1:
        options = [("piece", k) for k in pieces]
    options += [("instance", k) for k in _instances_on(photo, index)]
    if not options:
        return None
    kind, which = options[int(rng.integers(len(options)))]
    if kind == "piece":
        piece = (labels == which).astype(np.uint8)
        return ChosenObject(photo, piece, (index,), mask & (1 - piece))
    smaller = photo.mask(which)
    return ChosenObject(photo, smaller, (index, which), mask & (1 - smaller))


def _lobe(mask: Mask, rng: np.random.Generator) -> Mask | None:
    """A connected part of a mask that is thicker than what joins it to the rest, or None.

    What is left after an erosion falls apart where the object has a neck; every pixel of the
    object then belongs to the remnant nearest to it.
    """
    x, y, w, h = cv2.boundingRect(mask)
    own = np.pad(mask[y : y + h, x : x + w], 1)  # what leaves the photo ends there
    depth = np.asarray(cv2.distanceTransform(own, cv2.DIST_L2, 5), np.float32)
    eroded = (depth > depth.max() * rng.uniform(*LOBE_DEPTH)).astype(np.uint8)
    if cv2.connectedComponents(eroded, connectivity=8)[0] <= 2:
        return None
    _, labels = cv2.distanceTransformWithLabels(
        1 - eroded, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    for which in rng.permutation(labels.max()) + 1:
        nearest = ((labels == which) & (own > 0)).astype(np.uint8)[1:-1, 1:-1]
        # Across a gap, the nearest remnant can be one that the object does not lead to.
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(nearest, connectivity=8)
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        area = int(stats[largest, cv2.CC_STAT_AREA])
        if MIN_PART_AREA <= area <= MAX_LOBE * np.count_nonzero(mask):
            shape = np.zeros_like(mask)
            shape[y : y + h, x : x + w] = pieces == largest
            around = np.asarray(cv2.dilate(shape, np.ones((3, 3), np.uint8)), np.uint8)
            if (around & mask & (1 - shape)).any():  # or else it is an unconnected piece
                return shape
    return None


def _instances_on(photo: Photo, index: int) -> list[int]:
    """Smaller instances that lie on the one given."""
    areas = photo.areas()
    others = [
        k for k in range(len(areas)) if k != index and MIN_PART_AREA <= areas[k] < areas[index]
    ]
    if not others:
        return []
    # Against a "crowd", the IoU of pycocotools is the share of the detection that is inside.
    shares = coco_mask.iou([photo.rles[k] for k in others], [photo.rles[index]], [1])[:, 0]
    return [k for k, share in zip(others, shares, strict=True) if share > ON_TOP]
