"""PASCAL VOC and SBD: one object per instance."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut_eval.datasets.files import Faults, folder, names_of, read_labels
from clickcut_eval.errors import DatasetError
from clickcut_eval.targets import Target, Truth

VOID = 255

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


def instance(path: Path, ident: int) -> Truth:
    """One instance of a `SegmentationObject` image; void is ignored."""
    ids = read_labels(path)
    return Truth(ids == ident, ids == VOID)


def voc(root: Path, split: str = "val") -> list[Target]:
    """PASCAL VOC: `ImageSets/Segmentation`, `JPEGImages`, `SegmentationObject`, one per instance.

    The category is the class that most of the instance's pixels have in `SegmentationClass`, where
    that folder exists.

    Raises:
        DatasetError: lists photographs and label images that are missing or do not fit.
    """
    names = names_of(root / "ImageSets/Segmentation" / f"{split}.txt")
    images, objects = folder(root, "JPEGImages"), folder(root, "SegmentationObject")
    classes = root / "SegmentationClass"
    faults = Faults(root)
    for name in names:
        faults.compare_sizes(images / f"{name}.jpg", objects / f"{name}.png")
    faults.stop()
    targets = []
    for name in names:
        path = objects / f"{name}.png"
        ids = read_labels(path)
        kinds = read_labels(classes / path.name) if (classes / path.name).is_file() else None
        for ident in np.unique(ids).tolist():
            if ident not in (0, VOID):
                category = "" if kinds is None else _majority(kinds[ids == ident])
                image = images / f"{name}.jpg"
                read = partial(instance, path, ident)
                targets.append(Target(f"{name}_{ident}", image, category, read))
    return targets


def _majority(kinds: NDArray[np.uint8]) -> str:
    kind = int(np.bincount(kinds[kinds != VOID], minlength=1).argmax())
    return CLASSES[kind] if 0 < kind < len(CLASSES) else ""


def _mat(path: Path) -> Any:
    """The structure `GTinst` of a `.mat` file of SBD."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DatasetError("SBD's .mat files need scipy: pip install 'clickcut[eval]'") from error
    try:
        return loadmat(path, squeeze_me=True, struct_as_record=False)["GTinst"]
    except Exception as error:  # scipy raises many kinds for damaged files
        raise DatasetError(f"{path}: not a .mat file of SBD ({error})") from error


def sbd_instance(path: Path, ident: int) -> Truth:
    """One instance of an SBD file; there is no void."""
    mask = np.asarray(_mat(path).Segmentation) == ident
    return Truth(mask, np.zeros_like(mask))


def sbd(root: Path, split: str = "val") -> list[Target]:
    """SBD: `img/NAME.jpg`, `inst/NAME.mat`, `val.txt`, also under `dataset/`.

    Raises:
        DatasetError: lists photographs and instance files that are missing or do not fit.
    """
    if (root / "dataset").is_dir():
        root = root / "dataset"
    names = names_of(root / f"{split}.txt")
    images, instances = folder(root, "img"), folder(root, "inst")
    faults = Faults(root)
    targets = []
    for name in names:
        image, path = images / f"{name}.jpg", instances / f"{name}.mat"
        if not path.is_file():
            faults.add(f"{path.name} is missing")
            continue
        truth = _mat(path)
        ids = np.asarray(truth.Segmentation)
        faults.compare_with(image, path, ids.shape[1], ids.shape[0])
        kinds = np.atleast_1d(truth.Categories)
        for ident in np.unique(ids).tolist():
            if ident:
                kind = int(kinds[ident - 1]) if ident <= len(kinds) else 0
                category = CLASSES[kind] if 0 < kind < len(CLASSES) else ""
                read = partial(sbd_instance, path, ident)
                targets.append(Target(f"{name}_{ident}", image, category, read))
    faults.stop()
    return targets
