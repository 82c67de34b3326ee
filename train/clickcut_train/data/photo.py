"""A photograph with its object masks, in the form that stays in memory: encoded and run lengths."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from clickcut.errors import ImageError
from clickcut.images import decode
from clickcut_eval.datasets.rle import Rle, decode_mask
from clickcut_train.errors import DataError

JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Photo:
    """One training photograph and the instances on it.

    Attributes:
        name: where it comes from, for messages.
        encoded: the image file as bytes.
        rles: one per instance, each of the size of the photograph.
        void: the pixels that belong to no instance for certain, or None. They overlap none.
        chosen: the instance to select, where that is settled; None: any.
    """

    name: str
    encoded: bytes
    rles: tuple[Rle, ...]
    void: Rle | None = None
    chosen: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels.

        Raises:
            DataError: the photo has no instance.
        """
        if not self.rles:
            raise DataError(f"{self.name}: no instance")
        height, width = self.rles[0]["size"]
        return int(height), int(width)

    def image(self) -> NDArray[np.uint8]:
        """The decoded photograph: (H, W, 3) uint8, RGB.

        Raises:
            DataError: not a readable image.
        """
        # Photographs are JPEGs, which OpenCV decodes fastest; the rest as the engine does.
        if self.encoded.startswith(JPEG):
            bgr = cv2.imdecode(np.frombuffer(self.encoded, np.uint8), cv2.IMREAD_COLOR)
            if bgr is None:
                raise DataError(f"{self.name}: not a readable JPEG")
            return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), np.uint8)
        try:
            return decode(self.encoded)
        except ImageError as error:
            raise DataError(f"{self.name}: {error}") from error

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The mask of one instance: (H, W) uint8, 1 = object."""
        return decode_mask(self.rles[index])

    def masks(self) -> NDArray[np.uint8]:
        """All instance masks: (N, H, W) uint8, 1 = object."""
        return np.stack([decode_mask(rle) for rle in self.rles])

    def areas(self) -> NDArray[np.float64]:
        """Pixels of each instance: (N,) float64."""
        # One by one: pycocotools' own list of areas ends at 255.
        return np.array([coco_mask.area(rle) for rle in self.rles], np.float64)

    def void_mask(self) -> NDArray[np.uint8] | None:
        """Pixels to ignore: (H, W) uint8, 1 = void; None when there are none."""
        return None if self.void is None else decode_mask(self.void)
