"""What a click on the background says about the selection that it corrects.

Users click about where the error is deepest, and the simulated user does so exactly. So what such a
click removes is nowhere much deeper than the click lies inside the selection; an output that
removes more is about another object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import Point
from clickcut.region import Region
from clickcut.resample import move
from clickcut.selection import Selection

DEEPER = 1.25
"""How much deeper than the click what is removed may be; users do not click exactly."""

SLACK = 2.0
"""Samples that it may be deeper besides: distances on a grid are not exact either."""

LEFT = 0.4
"""Maximum part of the selection that a window keeps: it is for objects that are a small part."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A selection and the click on the background that corrects it.

    Attributes:
        box: of the selection.
        selected: (h, w) uint8, 0 or 1, the selection sampled over `box` with square samples.
        depth: distance of the click from the selection's outline, samples; 0 if it lies outside.
    """

    box: Region
    selected: NDArray[np.uint8]
    depth: float

    @staticmethod
    def of(before: Selection, points: Sequence[Point], size: int) -> Correction | None:
        """Return the correction of a selection; None if nothing was selected.

        Args:
            before: the selection.
            points: of the click or stroke, (x, y); the deepest counts.
            size: maximum number of samples along a side.
        """
        box = before.box
        if box is None:
            return None
        scale = min(1.0, size / max(box.width, box.height))
        height, width = math.ceil(scale * box.height), math.ceil(scale * box.width)
        mask = before.cropped().view(np.uint8)
        small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        selected = np.asarray(small, np.uint8)
        depths = _depths(selected)
        inside = [
            depths[int((y - box.y0 + 0.5) * scale), int((x - box.x0 + 0.5) * scale)]
            for x, y in points
            if box.holds(x, y)
        ]
        return Correction(box, selected, float(max(inside, default=0.0)))

    def removes_too_much(self, probability: NDArray[np.float32], region: Region) -> bool:
        """Return whether an output removes what is deeper than the click.

        Args:
            probability: (S, S) float32 over `region`; nothing is selected beyond it.
            region: a window.
        """
        removed = self.selected & (1 - self._kept(probability, region))
        return float(_depths(removed).max()) > DEEPER * self.depth + SLACK

    def finds_a_small_part(self, probability: NDArray[np.float32], region: Region) -> bool:
        """Return whether an output keeps at most `LEFT` of the selection; see there."""
        kept = int(np.count_nonzero(self.selected & self._kept(probability, region)))
        return kept <= LEFT * int(np.count_nonzero(self.selected))

    def _kept(self, probability: NDArray[np.float32], region: Region) -> NDArray[np.uint8]:
        shape = self.selected.shape[0], self.selected.shape[1]
        return (move(probability, region, self.box, 0.0, shape) > 0.5).view(np.uint8)


def _depths(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the distance of each sample of (h, w) 0 or 1 to the nearest one outside, float32."""
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(distance[1:-1, 1:-1], np.float32)
