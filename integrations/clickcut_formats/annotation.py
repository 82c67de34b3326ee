"""What all formats have in common: images, and labelled objects on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from clickcut.encoding import from_rle, to_rle
from clickcut.errors import EventError
from clickcut.polygons import Polygon, to_polygons

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """An object on an image. The mask is kept as run lengths, so that thousands fit into memory.

    Attributes:
        label: its class, as a person writes it.
        counts: COCO's compressed run lengths of the whole image.
        height: of the image.
        width: of the image.
        id: as the file it came from names it; None when it has none.
    """

    label: str
    counts: bytes
    height: int
    width: int
    id: int | None = None

    @staticmethod
    def of(label: str, mask: Mask, id: int | None = None) -> LabelledObject:
        """An object from its mask.

        Args:
            label: its class.
            mask: (H, W) bool.
            id: of the object.
        """
        height, width = mask.shape
        return LabelledObject(label, to_rle(np.ascontiguousarray(mask)), height, width, id)

    @property
    def mask(self) -> Mask:
        """(H, W) bool, decoded at each call.

        Raises:
            EventError: damaged run lengths, or of another size.
        """
        return from_rle(self.counts, self.height, self.width)

    @property
    def area(self) -> int:
        """Number of selected pixels."""
        return int(coco.area(self._rle))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the smallest box of pixels around the mask; zeros when empty."""
        x, y, width, height = (int(value) for value in coco.toBbox(self._rle))
        return x, y, width, height

    def outlines(self, tolerance: float) -> list[Polygon]:
        """Outlines in coordinates whose (0, 0) is the corner of the first pixel.

        Args:
            tolerance: largest distance in pixels from the exact outline.

        Raises:
            EventError: there are too many; the message says which tolerance would do.
        """
        x, y, width, height = self.box
        part = np.ascontiguousarray(self.mask[y : y + height, x : x + width])
        try:
            found = to_polygons(part, tolerance, x, y)
        except EventError as error:
            raise EventError(f"{self.label}: {error}") from error
        return [Polygon(polygon.points + np.float32(0.5), polygon.hole) for polygon in found]

    def check(self) -> None:
        """See that the run lengths are sound.

        Raises:
            EventError: damaged, or of another size.
        """
        if not 0 < self.height * self.width <= MAX_PIXELS:
            raise EventError(f"a mask of {self.width} x {self.height} pixels is out of range")
        from_rle(self.counts, self.height, self.width)

    @property
    def _rle(self) -> dict[str, object]:
        return {"size": [self.height, self.width], "counts": self.counts}


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image and its objects.

    Attributes:
        name: of the image file, relative to the annotation file, "/" between folders.
        width: in pixels.
        height: in pixels.
        objects: in the order in which they were made.
    """

    name: str
    width: int
    height: int
    objects: Sequence[LabelledObject]

    @property
    def path_stem(self) -> str:
        """The name with its folders, without the suffix."""
        return str(PurePosixPath(self.name).with_suffix(""))


MAX_PIXELS = 100_000_000
"""Largest width x height that is taken from a file."""


def labels_of(images: Sequence[LabelledImage]) -> list[str]:
    """All labels, in the order in which they first occur."""
    return list(dict.fromkeys(item.label for image in images for item in image.objects))
