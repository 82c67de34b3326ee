"""An object cut out of one photograph and pasted onto another.

Photographs of salient objects show one thing in the middle; a network that sees little else learns
to select that one. A pasted object lies anywhere, among the objects of the other photograph
("Cut, Paste and Learn", Dwibedi et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.datasets.rle import Rle, encode_mask
from clickcut_train.data.photo import Photo
from clickcut_train.target import choose_target

_AREA = (0.01, 0.3)
"""Pixels of the object relative to those of the photo that it is pasted onto."""
_SCALE = (0.2, 1.5)
_INSIDE = 0.75
"""Share of each side of the object's box that lies inside the photo."""
_SOFTNESS = 0.7
"""Standard deviation of the outline's blend, pixels."""


@dataclass(frozen=True)
class PastedPhoto(Photo):
    """A composed photograph; `chosen` is the pasted object, instance 0.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
    """

    pixels: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))

    def image(self) -> NDArray[np.uint8]:
        """See `Photo.image`."""
        return self.pixels


def paste(
    photo: Photo, onto: Photo, rng: np.random.Generator, area_exponent: float = 0.0
) -> PastedPhoto | None:
    """Paste an object of `photo` at a random place and size onto `onto`.

    Args:
        photo: the object's photograph.
        onto: the photograph that receives it; its objects stay where they are still visible.
        rng: source of randomness.
        area_exponent: how the object is drawn; see `choose_target`.

    Returns:
        The composition, or None when nothing of the object would be visible.

    Raises:
        DataError: a photograph cannot be decoded.
    """
    mask = choose_target(photo, rng, area_exponent).mask
    ground = onto.image().copy()
    height, width = ground.shape[:2]
    share = np.exp(rng.uniform(*np.log(_AREA)))
    scale = float(np.sqrt(share * height * width / np.count_nonzero(mask)))
    alpha, colours = _cut_out(photo.image(), mask, float(np.clip(scale, *_SCALE)))
    h, w = alpha.shape
    x, y = (_place(side, room, rng) for side, room in ((w, width), (h, height)))
    x0, y0, x1, y1 = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
    alpha, colours = (v[y0 - y : y1 - y, x0 - x : x1 - x] for v in (alpha, colours))
    pasted = np.zeros((height, width), np.uint8)
    pasted[y0:y1, x0:x1] = alpha > 0.5
    if not pasted.any():
        return None
    under = ground[y0:y1, x0:x1]
    ground[y0:y1, x0:x1] = np.rint(under + alpha[:, :, None] * (colours - under.astype(np.float32)))
    visible = [onto.mask(k) & (1 - pasted) for k in range(len(onto.rles))]
    void = onto.void_mask()
    unsure: Rle | None = None
    if void is not None and (rest := void & (1 - pasted)).any():
        unsure = encode_mask(rest)
    return PastedPhoto(
        name=f"{photo.name} on {onto.name}",
        encoded=b"",
        rles=(encode_mask(pasted), *(encode_mask(m) for m in visible if m.any())),
        void=unsure,
        chosen=0,
        pixels=ground,
    )


def _cut_out(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The object's box, scaled: its opacity (h, w) in [0, 1] and its colours (h, w, 3)."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    margin = 3
    opacity = np.pad(mask[box].astype(np.float32), margin)
    colours = np.pad(image[box], ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    side = [max(1, round(scale * n)) for n in opacity.shape[::-1]]
    alpha = cv2.GaussianBlur(cv2.resize(opacity, side, interpolation=how), (0, 0), _SOFTNESS)
    scaled = cv2.resize(colours, side, interpolation=how)
    return np.asarray(alpha, np.float32), np.asarray(scaled, np.float32)


def _place(side: int, room: int, rng: np.random.Generator) -> int:
    """Where a side of the box begins, so that most of it lies inside."""
    low, high = -(1 - _INSIDE) * side, room - _INSIDE * side
    return round(rng.uniform(low, high)) if high > low else round(room / 2 - side / 2)
