"""Test sets: folders of photographs with object masks -> objects to be selected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.images import decode


@dataclass(frozen=True)
class Target:
    """One object to select.

    Attributes:
        name: unique in its data set.
        image: path of the photograph.
        mask: (H, W) bool, the object.
        ignore: (H, W) bool, pixels that count neither way.
    """

    name: str
    image: Path
    mask: NDArray[np.bool_]
    ignore: NDArray[np.bool_]

    def pixels(self) -> NDArray[np.uint8]:
        """The photograph: (H, W, 3) uint8, RGB."""
        return decode(self.image.read_bytes())


class DatasetError(Exception):
    """A data set folder is not as it should be; the message lists every fault."""


def _grey(path: Path) -> NDArray[np.uint8]:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise DatasetError(f"{path}: not a readable mask")
    return np.asarray(mask if mask.ndim == 2 else mask[..., :3].max(axis=2), np.uint8)


def _pairs(root: Path, suffixes: tuple[str, ...] = ("",)) -> Iterator[tuple[Path, Path]]:
    """(image, mask) of `images/` and `masks/`; every image must have at least one mask."""
    images = sorted(p for p in (root / "images").glob("*") if p.suffix.lower() in (".jpg", ".png"))
    if not images:
        raise DatasetError(f"{root}: there are no photographs in {root / 'images'}")
    found = {
        image: [m for s in suffixes if (m := root / "masks" / f"{image.stem}{s}.png").exists()]
        for image in images
    }
    if lacking := [image.name for image, masks in found.items() if not masks]:
        raise DatasetError(f"{root}: no mask for {', '.join(lacking)}")
    for image, masks in found.items():
        for mask in masks:
            yield image, mask


def grabcut(root: Path) -> Iterator[Target]:
    """GrabCut: 255 = object, 128 = ignore."""
    for image, path in _pairs(root):
        grey = _grey(path)
        yield Target(path.stem, image, grey == 255, grey == 128)


def binary(root: Path) -> Iterator[Target]:
    """Berkeley and COCO pairs: above 127 = object; `NAME.png` or `NAMEa.png`, `NAMEb.png`, ..."""
    for image, path in _pairs(root, ("", *"abcdef")):
        mask = _grey(path) > 127
        yield Target(path.stem, image, mask, np.zeros_like(mask))


def voc(root: Path, split: str = "val") -> Iterator[Target]:
    """PASCAL VOC, one object per instance; void is ignored."""
    for name in (root / "ImageSets/Segmentation" / f"{split}.txt").read_text().split():
        ids = voc_ids(root / "SegmentationObject" / f"{name}.png")
        for ident in np.unique(ids):
            if ident not in (0, 255):
                image = root / "JPEGImages" / f"{name}.jpg"
                yield Target(f"{name}_{ident}", image, ids == ident, ids == 255)


def voc_ids(path: Path) -> NDArray[np.uint8]:
    """The ids of a VOC palette PNG: (H, W) uint8."""
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image)


DATASETS = {
    "grabcut": (grabcut, 0.90),
    "berkeley": (binary, 0.90),
    "coco_mval_dev": (binary, 0.85),
    "voc": (voc, 0.85),
}
"""Folder name -> reader and the IoU that the field measures clicks to."""
