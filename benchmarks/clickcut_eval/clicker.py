"""The simulated user: where the next click goes.

Two rules. `deepest`, the protocol of the field: the wrong pixel that is deepest inside its error
region. `xu2016`, the paper's sentence (section 3.5) taken literally: the wrong pixel that is
farthest from the boundary of the current selection and from the image's boundaries; the object's
own boundary plays no part in it.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Rule = Literal["deepest", "xu2016"]
RULES: tuple[Rule, ...] = get_args(Rule)

Click = tuple[int, int, bool]
"""x, y, positive."""


def depth(region: NDArray[Any]) -> NDArray[np.float32]:
    """Euclidean distance of each pixel of a region to the nearest pixel outside it.

    Args:
        region: (H, W) bool or uint8; what lies beyond the image's border is outside.

    Returns:
        (H, W) float32, pixels; 0 outside.
    """
    padded = np.pad(region, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV rounds by where its answer lies in memory, so of equally deep pixels now one, now
    # another would be the deepest. Squares of distances on a grid are whole numbers.
    return np.sqrt(np.rint(np.square(distance[1:-1, 1:-1])))


class Clicker:
    """Clicks wrong pixels, never the same pixel twice.

    Args:
        mask: (H, W) bool, the object.
        ignore: (H, W) bool, pixels that are never wrong.
        rule: where to click, see the module.
    """

    def __init__(
        self, mask: NDArray[np.bool_], ignore: NDArray[np.bool_], rule: Rule = "deepest"
    ) -> None:
        self._object = mask & ~ignore
        self._background = ~mask & ~ignore
        self._free = np.ones(mask.shape, np.bool_)
        self._rule = rule

    def next_click(self, selected: NDArray[np.bool_]) -> Click | None:
        """The next click for the mask (H, W) bool; None when no pixel left to click is wrong.

        Among equally far pixels the first one, row by row, is taken; among an object and a
        background pixel equally deep (rule `deepest`) the background pixel.
        """
        missed = self._object & ~selected
        excess = self._background & selected
        if self._rule == "deepest":
            far_missed, far_excess = depth(missed), depth(excess)
        else:
            far_missed, far_excess = depth(~selected) * missed, depth(selected) * excess
        far_missed *= self._free
        far_excess *= self._free
        positive = bool(far_missed.max() > far_excess.max())
        error = far_missed if positive else far_excess
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
