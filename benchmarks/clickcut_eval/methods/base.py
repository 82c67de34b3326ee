"""What every compared method offers, and the discs that the classical ones get for clicks."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

SEED_RADIUS = 5
"""Every click becomes a disc of this radius, pixels, for the methods without learning (paper
section 4.1); a pixel belongs to it when its centre is at most so far away."""

OBJECT, BACKGROUND = 1, 2
"""Labels of seed pixels; 0 = none."""


class Method(Protocol):
    """An interactive selection method; one image at a time, one thread at a time.

    Attributes:
        max_clicks: clicks that it can use at most; 0: any number.
    """

    max_clicks: int

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        """Set the image to select on, (H, W, 3) uint8 RGB; it is not changed."""

    def add_click(self, x: int, y: int, positive: bool) -> None:
        """Add a click: the pixel in column x, row y is object or background."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool, what is selected now; nothing before the first click."""

    @property
    def probability(self) -> NDArray[np.float32]:
        """(H, W) float32 in 0..1, that a pixel is object; the mask where a method decides hard."""


class Seeds:
    """The discs around all clicks on an image.

    Where discs of different sign overlap, a pixel has the label of the nearest click, of the latest
    among equally near ones. The clicked pixel itself always belongs to its disc.

    Args:
        height: of the image.
        width: of the image.
        radius: of the discs, pixels.

    Attributes:
        radius: as given.
        label: (H, W) uint8, `OBJECT`, `BACKGROUND` or 0.
        latest: (H, W) uint8, the pixels that the last click labelled, with their label.
        flipped: whether the last click changed the label of a pixel that had one.
        clicks: (x, y, positive) as they were made.
    """

    def __init__(self, height: int, width: int, radius: float = SEED_RADIUS) -> None:
        self.radius = radius
        self.label = np.zeros((height, width), np.uint8)
        self.latest = np.zeros((height, width), np.uint8)
        self.flipped = False
        self.clicks: list[tuple[float, float, bool]] = []
        self._squared = np.full((height, width), np.inf, np.float32)

    def add(self, x: float, y: float, positive: bool) -> None:
        """Add the disc of a click at column x, row y; (0, 0) is the centre of the first pixel."""
        self.clicks.append((x, y, positive))
        height, width = self.label.shape
        reach = int(self.radius) + 1
        column, row = round(x), round(y)
        rows, columns = np.mgrid[
            max(0, row - reach) : min(height, row + reach + 1),
            max(0, column - reach) : min(width, column + reach + 1),
        ]
        squared = ((rows - y) ** 2 + (columns - x) ** 2).astype(np.float32)
        squared[(rows == row) & (columns == column)] = 0
        inside = (squared <= self.radius**2) & (squared <= self._squared[rows, columns])
        where = rows[inside], columns[inside]
        value = OBJECT if positive else BACKGROUND
        before = self.label[where]
        self.flipped = bool(((before != 0) & (before != value)).any())
        self.latest = np.zeros_like(self.label)
        self.latest[where] = value
        self.label[where] = value
        self._squared[where] = squared[inside]

    def with_border(self) -> NDArray[np.uint8]:
        """The labels; while there is no click on the background, the image's border is background.

        Methods that need seeds of both kinds could not start from one positive click otherwise.
        """
        if any(not positive for *_, positive in self.clicks):
            return self.label
        out = self.label.copy()
        for edge in (out[0], out[-1], out[:, 0], out[:, -1]):
            edge[edge == 0] = BACKGROUND
        return out

    @property
    def both(self) -> bool:
        """Whether there are clicks of both signs."""
        return len({positive for *_, positive in self.clicks}) == 2


def lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB -> CIE L*a*b*, float32: L in 0..100, a and b about -128..127."""
    return np.asarray(
        cv2.cvtColor(pixels.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB), np.float32
    )
