"""A selection: a mask cropped to its bounding box and packed to bits, to save memory."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.region import Region


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which pixels are selected.

    Attributes:
        box: bounding box of the selected pixels; None when there are none.
        bits: bits of the mask inside the box, row by row.
        area: number of selected pixels.
    """

    box: Region | None
    bits: NDArray[np.uint8]
    area: int

    @staticmethod
    def of(mask: NDArray[np.bool_], x0: int = 0, y0: int = 0) -> Selection:
        """Return the selection of a mask (h, w) bool with its top-left pixel at (x0, y0)."""
        box = bounding_box(mask)
        if box is None:
            return EMPTY
        moved = Region(box.x0 + x0, box.y0 + y0, box.x1 + x0, box.y1 + y0)
        bits = np.packbits(mask[box.slices])
        return Selection(moved, bits, int(np.bitwise_count(bits).sum(dtype=np.int64)))

    def cropped(self) -> NDArray[np.bool_]:
        """Return the mask inside the box: (box.height, box.width) bool; (0, 0) without a box."""
        if self.box is None:
            return np.zeros((0, 0), np.bool_)
        bits = np.unpackbits(self.bits, count=self.box.area)
        return bits.reshape(self.box.height, self.box.width).view(np.bool_)

    def contains(self, x: int, y: int) -> bool:
        """Return whether the pixel in column x, row y is selected."""
        box = self.box
        if box is None or not (box.x0 <= x < box.x1 and box.y0 <= y < box.y1):
            return False
        at = (y - box.y0) * box.width + x - box.x0
        return bool(self.bits[at >> 3] >> (7 - (at & 7)) & 1)

    def equals(self, other: Selection) -> bool:
        """Return whether both hold the same pixels."""
        return self.box == other.box and np.array_equal(self.bits, other.bits)

    def without(self, other: Selection) -> Selection:
        """Return the pixels that are not in another selection."""
        if self.box is None or other.box is None:
            return self
        return Selection.of(self.cropped() & ~other.inside(self.box), self.box.x0, self.box.y0)

    def inside(self, region: Region) -> NDArray[np.bool_]:
        """Return the mask inside any region: (region.height, region.width) bool."""
        out = np.zeros((region.height, region.width), np.bool_)
        if self.box is not None:
            common = region.intersection(self.box)
            if common.area:
                ours = self.cropped()[common.relative_to(self.box).slices]
                out[common.relative_to(region).slices] = ours
        return out

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.bits.nbytes


EMPTY = Selection(None, np.zeros(0, np.uint8), 0)


@dataclass(frozen=True, slots=True, eq=False)
class SelectedObject:
    """One of the objects of a session.

    Attributes:
        index: as in `object_index` of the session.
        selection: its mask.
        num_clicks: clicks and strokes in force for it.
    """

    index: int
    selection: Selection
    num_clicks: int


def union(selections: Iterable[Selection], width: int, height: int) -> Selection:
    """Return the union of selections on an image of `width` x `height` pixels."""
    mask = np.zeros((height, width), np.bool_)
    for selection in selections:
        if selection.box is not None:
            mask[selection.box.slices] |= selection.cropped()
    return Selection.of(mask)


def bounding_box(mask: NDArray[np.bool_]) -> Region | None:
    """Return the smallest region with all set pixels of (H, W) bool; None if none is set."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    return Region(int(columns[0]), y0, int(columns[-1]) + 1, y1)


def paint(mask: NDArray[np.bool_], old: Selection, new: Selection) -> Region | None:
    """Turn a mask that shows `old` into one that shows `new`, in place.

    Args:
        mask: (H, W) bool.
        old: what it shows.
        new: what it shall show.

    Returns:
        The rectangle in which pixels changed; None when none did.
    """
    changed = []
    if old.box is not None:
        for strip in old.box.without(new.box):
            changed.append(_placed(bounding_box(mask[strip.slices]), strip))
            mask[strip.slices] = False
    if new.box is not None:
        # In place, and only where it changes: at 12 megapixels, arrays of this size cost more than
        # the arithmetic on them.
        difference = new.cropped()
        np.logical_xor(mask[new.box.slices], difference, out=difference)
        box = bounding_box(difference)
        changed.append(_placed(box, new.box))
        if box is not None:
            mask[new.box.slices][box.slices] ^= difference[box.slices]
    boxes = [box for box in changed if box is not None]
    return functools.reduce(Region.union, boxes) if boxes else None


def _placed(box: Region | None, origin: Region) -> Region | None:
    """Return a box that is relative to the top-left pixel of `origin`, in image pixels."""
    if box is None:
        return None
    return Region(box.x0 + origin.x0, box.y0 + origin.y0, box.x1 + origin.x0, box.y1 + origin.y0)
