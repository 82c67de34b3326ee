"""The objects that an evaluation selects, from the readers that training uses as well."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from clickcut_eval.data_spec import DEFAULT_SPLITS
from clickcut_eval.datasets.coco import (
    Fields,
    by_photo,
    photo_file,
    read_instances,
    segmentation_rle,
)
from clickcut_eval.datasets.entry import Annotated, Entry, FaultyPhotoError
from clickcut_eval.datasets.faults import Faults
from clickcut_eval.datasets.folder import folder_entries
from clickcut_eval.datasets.listing import first_folder
from clickcut_eval.datasets.rle import Rle, decode_mask
from clickcut_eval.datasets.sbd import sbd_entries
from clickcut_eval.datasets.voc import voc_entries
from clickcut_eval.errors import DatasetError
from clickcut_eval.targets import GroundTruth, Target


def voc(root: Path, splits: Sequence[str] = ()) -> list[Target]:
    """PASCAL VOC, `val` if no split is named: an instance per id, void pixels ignored.

    The category is the class that most of the instance's pixels have in `SegmentationClass`, where
    that folder exists.

    Raises:
        DatasetError: lists photographs and label images that are missing or do not fit.
    """
    return _instances(
        root, voc_entries(root, tuple(splits) or DEFAULT_SPLITS["voc"], categories=True)
    )


def sbd(root: Path, splits: Sequence[str] = ()) -> list[Target]:
    """SBD, `val` if no split is named: an instance per id.

    Raises:
        DatasetError: lists photographs and instance files that are missing or do not fit.
    """
    return _instances(root, sbd_entries(root, tuple(splits) or DEFAULT_SPLITS["sbd"]))


def folder(root: Path, splits: Sequence[str] = ()) -> list[Target]:
    """`images/` and `masks/`, as training reads them: an object per instance.

    Raises:
        DatasetError: lists what is missing, does not fit or belongs to nothing.
    """
    return _instances(root, folder_entries(root))


def _instances(root: Path, entries: Sequence[Entry]) -> list[Target]:
    """A target for each instance of each photograph."""
    faults = Faults(root)
    targets = []
    with_ids = like_classes = 0
    for entry in entries:
        try:
            found = entry.read()
        except FaultyPhotoError as error:
            faults.add(f"{entry.name}: {error}")
            if entry.image is not None:
                faults.size(entry.image)
            continue
        if entry.image is None:
            faults.add(f"{entry.name}: its data set names no image file")
            continue
        height, width = found.size
        faults.compare_with(entry.image, f"the mask of {entry.name}", width, height)
        for reason in found.dropped:
            faults.add(f"{entry.name}: {reason}")
        with_ids += bool(found.ids)
        like_classes += found.like_classes
        ids = found.ids or ()
        numbers = ids if len(set(ids)) == len(found.rles) else range(1, len(found.rles) + 1)
        categories = found.categories or ("",) * len(found.rles)
        targets += [
            Target(f"{entry.name}_{n}", entry.image, kind, partial(_ground_truth, entry.read, k))
            for k, (n, kind) in enumerate(zip(numbers, categories, strict=True))
        ]
    if like_classes > with_ids / 2:
        faults.add(
            f"{like_classes} of {with_ids} masks have ids that are not numbered from 1, as a map "
            "of classes has; instances are wanted"
        )
    faults.stop()
    return targets


def _ground_truth(read: Callable[[], Annotated], index: int) -> GroundTruth:
    """One instance of a photograph, read again: targets stay small."""
    found = read()
    mask = decode_mask(found.rles[index]).astype(bool)
    if found.void is None:
        return GroundTruth(mask, np.zeros_like(mask))
    return GroundTruth(mask, decode_mask(found.void).astype(bool))


def coco(root: Path, splits: Sequence[str] = (), per_class: int = 10) -> list[Target]:
    """COCO: some objects of every class (paper section 4.2: 10 of each of the 80).

    Of every class `per_class` objects are drawn at random, the same for every call: those whose id
    has the smallest CRC-32. Crowds are left out.

    Args:
        root: with `annotations/instances_SPLIT.json` and `SPLIT/`. If no split is named, the only
            `instances*.json` in `root` or `root/annotations`, with photographs in `images/` or in
            the folder that the file's name ends in.
        splits: such as `val2017`.
        per_class: objects of each class in each split.

    Raises:
        DatasetError: no file or several, not COCO's format; or lists photographs that are missing
            or of another size, annotations that name no listed image or category or that cannot be
            drawn.
    """
    files = [root / f"annotations/instances_{split}.json" for split in splits]
    faults = Faults(root)
    targets = [
        target
        for path in files or [_only_file(root)]
        for target in _drawn(path, _photographs(root, path, bool(splits)), per_class, faults)
    ]
    faults.stop()
    if not targets:
        raise DatasetError(f"{root}: holds no objects")
    return targets


def _only_file(root: Path) -> Path:
    found = sorted(
        p for place in (root, root / "annotations") for p in place.glob("instances*.json")
    )
    if len(found) != 1:
        listed = ", ".join(p.name for p in found) or "none"
        raise DatasetError(
            f"{root}: expected one instances*.json, found: {listed}; name a split: "
            "coco:FOLDER:val2017"
        )
    return found[0]


def _photographs(root: Path, path: Path, named: bool) -> Path:
    split = path.stem.removeprefix("instances_")
    return root / split if named else first_folder(root, "images", split)


def _drawn(path: Path, photographs: Path, per_class: int, faults: Faults) -> list[Target]:
    """Targets of one file; what is wrong with those that are drawn is added to `faults`."""
    document = read_instances(path)
    _, unknown = by_photo(document)
    for image_id, reason in unknown.items():
        faults.add(f"{path.name}, image_id {image_id}: {reason}")
    images = {repr(image.get("id")): image for image in document["images"]}
    names = _class_names(document, path)
    groups: dict[str, list[tuple[int, Fields]]] = defaultdict(list)
    for annotation in document["annotations"]:
        ident, category = annotation.get("id"), repr(annotation.get("category_id"))
        if not isinstance(ident, int):
            raise DatasetError(f"{path}: an annotation has the id {ident!r}, not a whole number")
        if category not in names:
            faults.add(f"{path.name}, annotation {ident}: category {category} is not listed")
        elif not annotation.get("iscrowd", 0) and repr(annotation.get("image_id")) in images:
            groups[names[category]].append((ident, annotation))
    targets = []
    for name in sorted(groups):
        drawn = sorted(groups[name], key=lambda item: (_draw(item[0]), item[0]))[:per_class]
        for ident, annotation in sorted(drawn, key=lambda item: item[0]):
            image = images[repr(annotation.get("image_id"))]
            try:
                file, height, width = photo_file(image, photographs)
                rle = segmentation_rle(annotation.get("segmentation"), height, width)
            except (ValueError, FaultyPhotoError) as error:
                faults.add(f"{path.name}, annotation {ident}: {error}")
                continue
            faults.compare_with(file, path.name, width, height)
            targets.append(Target(f"{name}_{ident}", file, name, partial(_one, rle)))
    return targets


def _class_names(document: Fields, path: Path) -> dict[str, str]:
    """Names of categories by the `repr` of their id."""
    categories = document.get("categories")
    if not isinstance(categories, list) or not all(
        isinstance(c, dict) and isinstance(c.get("name"), str) for c in categories
    ):
        raise DatasetError(f"{path}: not COCO instances: no list 'categories' with names")
    return {repr(c.get("id")): c["name"] for c in categories}


def _draw(ident: int) -> int:
    return zlib.crc32(str(ident).encode())


def _one(rle: Rle) -> GroundTruth:
    mask = decode_mask(rle).astype(bool)
    return GroundTruth(mask, np.zeros_like(mask))
