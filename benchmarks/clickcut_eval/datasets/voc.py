"""PASCAL VOC: `JPEGImages`, `SegmentationObject`, `ImageSets/Segmentation/SPLIT.txt`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut_eval.datasets.entry import Annotated, Entry, FaultyPhotoError, split_names
from clickcut_eval.datasets.labels import VOID, instances_of, read_id_map
from clickcut_eval.errors import DatasetError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
"""VOC's classes by their index."""

SEEN_IN_COCO = frozenset(
    (
        "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "boat", "bird", "cat",
        "dog", "horse", "sheep", "cow", "bottle", "chair", "couch", "potted plant", "dining table",
        "tv",
    )
)  # fmt: skip
"""The same 20 under COCO's names: "seen" in the paper's sense (section 4.2)."""


def voc_entries(root: Path, splits: tuple[str, ...], categories: bool = False) -> list[Entry]:
    """The photos of the named splits; an instance per id of `SegmentationObject`, 255 = void.

    Args:
        root: the folder of the year, `VOC2012`.
        splits: such as `train`.
        categories: also read the instances' classes, where there is `SegmentationClass`.

    Raises:
        DatasetError: no such split, or the tree has no `SegmentationObject` or `JPEGImages`.
    """
    if not (root / "SegmentationObject").is_dir():
        hint = "it has class maps only" if (root / "SegmentationClass").is_dir() else "no VOC tree"
        raise DatasetError(f"{root}: no folder SegmentationObject ({hint})")
    if not (root / "JPEGImages").is_dir():
        raise DatasetError(f"{root}: no folder JPEGImages with the photos of VOC")
    lists = [split_names(root / f"ImageSets/Segmentation/{split}.txt") for split in splits]
    return [
        Entry(name, root / "JPEGImages" / f"{name}.jpg", partial(_read, root, name, categories))
        for name in dict.fromkeys(name for names in lists for name in names)
    ]


def _read(root: Path, name: str, categories: bool) -> Annotated:
    ids = read_id_map(root / "SegmentationObject" / f"{name}.png")
    rles, void, numbers = instances_of(ids)
    classes = root / "SegmentationClass" / f"{name}.png"
    if not categories or not classes.is_file():
        return Annotated((ids.shape[0], ids.shape[1]), rles, void, numbers)
    kinds = read_id_map(classes)
    if kinds.shape != ids.shape:
        raise FaultyPhotoError("its maps of instances and of classes differ in size")
    found = tuple(_majority(kinds[ids == ident]) for ident in numbers)
    return Annotated((ids.shape[0], ids.shape[1]), rles, void, numbers, found)


def _majority(kinds: NDArray[np.uint16]) -> str:
    """The class that most of an instance's pixels have."""
    return class_name(int(np.bincount(kinds[kinds != VOID], minlength=1).argmax()))


def class_name(index: int) -> str:
    """VOC's class of an index; "" for the background and unknown ones."""
    return CLASSES[index] if 0 < index < len(CLASSES) else ""
