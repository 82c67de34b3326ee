"""Masks as run lengths, the form in which they stay in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Rle = dict[str, Any]
"""Run lengths of a mask as pycocotools has them: `size` (H, W) and compressed `counts`."""


def encode_mask(mask: NDArray[Any]) -> Rle:
    """Run lengths of an (H, W) mask, bool or 0/1; fastest when it is in column order."""
    rle: Rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return rle


def decode_mask(rle: Rle) -> NDArray[np.uint8]:
    """The (H, W) uint8 mask of run lengths, 1 = set, rows contiguous."""
    return np.ascontiguousarray(coco_mask.decode(rle))
