"""The simulated user: where the next click goes (protocol `deepest`)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def depth(error: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel of an error (H, W) bool to its outside or the image's border."""
    padded = np.pad(error, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance[1:-1, 1:-1], np.float32)


class Clicker:
    """Clicks the deepest wrong pixel, never the same pixel twice.

    Args:
        mask: (H, W) bool, the object.
        ignore: (H, W) bool, pixels that are never wrong.
    """

    def __init__(self, mask: NDArray[np.bool_], ignore: NDArray[np.bool_]) -> None:
        self._object = mask & ~ignore
        self._background = ~mask & ~ignore
        self._free = np.ones(mask.shape, np.bool_)

    def next_click(self, selected: NDArray[np.bool_]) -> tuple[int, int, bool] | None:
        """The next click (x, y, positive) for the mask (H, W); None when nothing is wrong."""
        missed = depth(self._object & ~selected) * self._free
        excess = depth(self._background & selected) * self._free
        positive = bool(missed.max() > excess.max())
        error = missed if positive else excess
        y, x = divmod(int(error.argmax()), error.shape[1])
        if error[y, x] <= 0:
            return None
        self._free[y, x] = False
        return x, y, positive

    def iou(self, selected: NDArray[np.bool_]) -> float:
        """Intersection over union with the object, ignored pixels left out."""
        kept = selected & (self._object | self._background)
        union = int(np.count_nonzero(kept | self._object))
        return int(np.count_nonzero(kept & self._object)) / union if union else 1.0
