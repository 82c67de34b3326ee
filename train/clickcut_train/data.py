"""Readers: folders of photographs with object masks -> a list of `Photo`.

A photo keeps its encoded bytes (about 40 kB) and, for each instance, a compressed mask, so that
several thousand photographs stay in memory and every training sample costs one decode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

IGNORE = 255
MIN_OBJECT_AREA = 400
"""Objects with fewer pixels than this are not trained on: a click disc would cover most of them."""


@dataclass(frozen=True)
class Photo:
    """One training photograph and the instances on it.

    Attributes:
        name: file name, for messages.
        encoded: the image file as bytes.
        rles: one COCO RLE dict per instance, each of the size of the photograph.
        void: COCO RLE of the pixels that belong to no class for certain, or None.
    """

    name: str
    encoded: bytes
    rles: tuple[dict[str, object], ...]
    void: dict[str, object] | None

    def image(self) -> np.ndarray:
        """The decoded photograph: (H, W, 3) uint8, RGB."""
        bgr = cv2.imdecode(np.frombuffer(self.encoded, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError(f"{self.name}: not a readable image")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def masks(self) -> np.ndarray:
        """All instance masks: (N, H, W) uint8, 1 = object."""
        return np.ascontiguousarray(coco_mask.decode(list(self.rles)).transpose(2, 0, 1))

    def void_mask(self) -> np.ndarray | None:
        """Pixels to ignore: (H, W) uint8, 1 = void; None when there are none."""
        return None if self.void is None else coco_mask.decode(self.void)


def _rle(mask: np.ndarray) -> dict[str, object]:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def _palette_ids(path: Path) -> np.ndarray:
    """The indices of a palette PNG: (H, W) uint8."""
    with Image.open(path) as image:
        ids = np.array(image)
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise ValueError(f"{path}: expected an 8-bit palette or grey PNG, got mode {image.mode}")
    return ids


def read_voc(root: Path, splits: tuple[str, ...]) -> Iterator[Photo]:
    """Photographs of a PASCAL VOC tree, one instance per id of `SegmentationObject`."""
    for split in splits:
        names = (root / "ImageSets/Segmentation" / f"{split}.txt").read_text().split()
        for name in names:
            ids = _palette_ids(root / "SegmentationObject" / f"{name}.png")
            instances = [ids == i for i in np.unique(ids) if i not in (0, IGNORE)]
            kept = tuple(_rle(m) for m in instances if m.sum() >= MIN_OBJECT_AREA)
            if kept:
                encoded = (root / "JPEGImages" / f"{name}.jpg").read_bytes()
                void = _rle(ids == IGNORE) if (ids == IGNORE).any() else None
                yield Photo(name, encoded, kept, void)


def read_coco(root: Path, annotations: str = "instances.json") -> Iterator[Photo]:
    """Photographs of a COCO instances file beside a folder `images`; crowds are left out."""
    index = json.loads((root / annotations).read_text())
    by_image: dict[int, list[dict[str, object]]] = {}
    for ann in index["annotations"]:
        if not ann.get("iscrowd"):
            by_image.setdefault(ann["image_id"], []).append(ann)
    for entry in index["images"]:
        height, width = entry["height"], entry["width"]
        kept = []
        for ann in by_image.get(entry["id"], []):
            rle = coco_mask.merge(coco_mask.frPyObjects(ann["segmentation"], height, width))
            if coco_mask.area(rle) >= MIN_OBJECT_AREA:
                kept.append(rle)
        if kept:
            encoded = (root / "images" / entry["file_name"]).read_bytes()
            yield Photo(entry["file_name"], encoded, tuple(kept), None)
