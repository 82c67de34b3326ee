"""A session looks closer: a crop around its last click, as the engine refines a region.

At inference the network may run once more on a crop around the last click, with the region's
probability as the previous one (`region.refine` of a bundle). That probability is coarse on the
crop, the object mostly reaches beyond it, and the click has been answered already. A simulated
session does the same: it keeps its view, learns from one look at the crop, and goes on in the view
with what the look found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickcut.region import Region
from clickcut.resample import move
from clickcut.session.refinement import crop_weights
from clickcut_train.augment import damage
from clickcut_train.clicks import Click
from clickcut_train.crop import Crop
from clickcut_train.samples import Sample

SIDES = (0.4, 0.8)
"""Side of a crop relative to the view's: those that bundles are likely to name."""


class Window(NamedTuple):
    """A square of pixels of a sample: columns x0..x0+side-1, rows y0..y0+side-1."""

    x0: int
    y0: int
    side: int

    @property
    def region(self) -> Region:
        """The same as a region."""
        return Region(self.x0, self.y0, self.x0 + self.side, self.y0 + self.side)


def draw_window(click: Click, size: int, rng: np.random.Generator) -> Window:
    """Draw the window of a closer look around a click, inside a sample of `size` pixels."""
    side = round(size * rng.uniform(*SIDES))
    x0, y0 = (min(max(0, v - side // 2), size - side) for v in click)
    return Window(x0, y0, side)


def closer_sample(sample: Sample, window: Window) -> Sample:
    """Return the window of a sample at the sample's size, drawn from the photo again.

    Args:
        sample: with the probability that the network answered last.
        window: of the sample.

    Returns:
        Clicks outside the window are dropped; the probability is the sample's, bilinear.

    Raises:
        DataError: the photo cannot be decoded.
        ValueError: the sample was not drawn from a photo.
    """
    origin = sample.origin
    if origin is None:
        raise ValueError("a sample that was not drawn from a photo has no closer view")
    size = origin.crop.size
    zoom = size / window.side
    matrix = origin.crop.matrix * zoom
    matrix[:, 2] += [zoom * (0.5 - start) - 0.5 for start in (window.x0, window.y0)]
    crop = Crop(size, matrix)
    image, void = crop.image(origin.photo.image()), origin.photo.void_mask()
    if origin.damage is not None:
        image = damage(image, np.random.default_rng(origin.damage))
    target = crop.mask(origin.mask)
    view = Region(0, 0, size, size)
    probability = move(sample.probability.astype(np.float32), view, window.region, None)
    return Sample(
        image=image,
        target=target,
        ignore=np.zeros_like(target) if void is None else crop.mask(void) & ~target,
        probability=probability.astype(np.float16),
        positive=_inside(sample.positive, window, size),
        negative=_inside(sample.negative, window, size),
        origin=origin,
    )


def look_back(sample: Sample, window: Window, probability: NDArray[np.float32]) -> None:
    """Blend what a closer look found into the probability of a sample.

    Args:
        sample: changed in place.
        window: of the look.
        probability: (S, S) float32 over the window, the network's answer.
    """
    view = Region(0, 0, *sample.probability.shape)
    found = move(probability, window.region, view, None)
    weight = crop_weights(window.region, view, found.shape)
    sample.probability += (weight * (found - sample.probability)).astype(np.float16)


def _inside(points: list[Click], window: Window, size: int) -> list[Click]:
    """Return the clicks inside a window, in pixels of the look."""
    shifted = [(x - window.x0, y - window.y0) for x, y in points]
    return [
        (int((x + 0.5) * size / window.side), int((y + 0.5) * size / window.side))
        for x, y in shifted
        if 0 <= x < window.side and 0 <= y < window.side
    ]
