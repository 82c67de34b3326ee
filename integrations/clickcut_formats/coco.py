"""COCO's annotation file, with run lengths (exact) or polygons, and repairs inside such a file.

Format: https://cocodataset.org/#format-data. Run lengths are written as a compressed string, the
form that pycocotools reads and that JSON can hold. `iscrowd` is 0: each mask is one object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.encoding import from_rle
from clickcut.errors import EventError
from clickcut_formats.annotation import LabelledImage, LabelledObject, labels_of
from clickcut_formats.errors import Faults, FormatError
from clickcut_formats.files import Encoded
from clickcut_formats.reading import (
    entries,
    fill_polygons,
    image_size,
    polygon_fault,
    read_json,
    runs_to_mask,
    to_json,
)

FILE = "annotations.json"


def encode(images: Sequence[LabelledImage], *, polygons: bool, tolerance: float) -> Encoded:
    """One file of all images.

    Args:
        images: with their objects.
        polygons: outlines instead of run lengths; holes are filled then, and noted.
        tolerance: largest distance in pixels between polygons and exact outline.
    """
    labels = labels_of(images)
    notes: list[str] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, 1):
        for item in image.objects:
            shape: object
            if polygons:
                shape = _polygons(item, tolerance, f"{image.name}, {item.label}", notes)
            else:
                shape = _rle(item)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": labels.index(item.label) + 1,
                    "iscrowd": 0,
                    **_measures(item),
                    "segmentation": shape,
                }
            )
    document = {
        "images": [
            {"id": number, "file_name": image.name, "width": image.width, "height": image.height}
            for number, image in enumerate(images, 1)
        ],
        "categories": [
            {"id": number, "name": label, "supercategory": ""}
            for number, label in enumerate(labels, 1)
        ],
        "annotations": annotations,
    }
    return Encoded({FILE: to_json(document)}, notes)


def _measures(item: LabelledObject) -> dict[str, Any]:
    return {"bbox": [float(value) for value in item.box], "area": item.area}


def _rle(item: LabelledObject) -> dict[str, Any]:
    return {"size": [item.height, item.width], "counts": item.counts.decode("ascii")}


def _polygons(
    item: LabelledObject, tolerance: float, where: str, notes: list[str]
) -> list[list[float]]:
    outlines = item.outlines(tolerance)
    holes = sum(outline.hole for outline in outlines)
    if holes:
        filled = "1 hole is" if holes == 1 else f"{holes} holes are"
        notes.append(f"{where}: {filled} filled, polygons of COCO have none")
    return [outline.points.ravel().tolist() for outline in outlines if not outline.hole]


# ---- reading


def is_coco(document: object) -> bool:
    """Whether a JSON document looks like this format."""
    return isinstance(document, dict) and "annotations" in document and "images" in document


def read(path: Path) -> list[LabelledImage]:
    """Read a file.

    Raises:
        FormatError: names every image and annotation that cannot be used.
    """
    return parse(read_json(path), str(path))


def parse(document: Any, source: str) -> list[LabelledImage]:
    """Images and objects of a document that was read from `source`.

    Raises:
        FormatError: names every image and annotation that cannot be used.
    """
    faults = Faults(source)
    if not isinstance(document, dict):
        raise FormatError(source, ["a COCO file is a JSON object with images and annotations"])
    images = _images(document, faults)
    names = _categories(document, faults)
    objects: dict[Any, list[LabelledObject]] = {image_id: [] for image_id in images}
    seen: set[Any] = set()
    for where, entry in entries(document, "annotations", faults):
        number = entry.get("id")
        if number in seen:
            faults.add(where, "this id occurs twice")
        seen.add(number)
        image = images.get(entry.get("image_id"))
        label = names.get(entry.get("category_id"))
        if image is None:
            faults.add(where, f"there is no image with id {entry.get('image_id')!r}")
        if label is None:
            faults.add(where, f"there is no category with id {entry.get('category_id')!r}")
        if image is None or label is None:
            continue
        try:
            mask = _mask(entry.get("segmentation"), image.width, image.height)
        except EventError as error:
            faults.add(where, str(error))
            continue
        known = number if isinstance(number, int) else None
        objects[entry["image_id"]].append(LabelledObject.of(label, mask, known))
    faults.check()
    return [
        LabelledImage(image.name, image.width, image.height, objects[image_id])
        for image_id, image in images.items()
    ]


def _images(document: dict[str, Any], faults: Faults) -> dict[Any, LabelledImage]:
    images: dict[Any, LabelledImage] = {}
    for where, entry in entries(document, "images", faults):
        number, name = entry.get("id"), entry.get("file_name")
        sides = entry.get("width"), entry.get("height")
        size = image_size(*sides)
        if not isinstance(number, int | str):
            faults.add(where, "has no id")
        elif number in images:
            faults.add(where, "this id occurs twice")
        elif not isinstance(name, str) or not name:
            faults.add(where, "has no file_name")
        elif size is None:
            faults.add(where, f"{sides[0]!r} x {sides[1]!r} is not an image size")
        else:
            images[number] = LabelledImage(name, *size, ())
    return images


def _categories(document: dict[str, Any], faults: Faults) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for where, entry in entries(document, "categories", faults):
        number, name = entry.get("id"), entry.get("name")
        if not isinstance(number, int | str) or not isinstance(name, str):
            faults.add(where, "has no id or no name")
        elif number in names:
            faults.add(where, "this id occurs twice")
        else:
            names[number] = name
    return names


def _mask(shape: object, width: int, height: int) -> NDArray[np.bool_]:
    """The mask of a `segmentation`.

    Raises:
        EventError: what is wrong with it.
    """
    if isinstance(shape, list):
        if not shape:
            raise EventError("has no polygon")
        for points in shape:
            if fault := polygon_fault(points, width, height):
                raise EventError(fault)
        return fill_polygons(shape, width, height)
    if not isinstance(shape, dict):
        raise EventError("has no segmentation")
    if shape.get("size") != [height, width]:
        raise EventError(f"its RLE has size {shape.get('size')!r}, the image [{height}, {width}]")
    counts = shape.get("counts")
    if isinstance(counts, str):
        return from_rle(counts.encode("latin-1", "replace"), height, width)
    mask = runs_to_mask(counts, width, height, "F") if isinstance(counts, list) else None
    if mask is None:
        raise EventError(f"its RLE's runs do not cover {width} x {height} pixels")
    return mask


# ---- repairing


def repaired(document: dict[str, Any], masks: Mapping[int, LabelledObject]) -> bytes:
    """The file with other masks for some annotations; everything else stays as it was.

    Args:
        document: as read, sound.
        masks: by index in `annotations`. Where polygons without holes were, exact polygons come
            back; else run lengths.
    """
    annotations = list(document["annotations"])
    for index, item in masks.items():
        before = annotations[index]
        outlines = item.outlines(0.0)
        as_polygons = isinstance(before["segmentation"], list) and not any(
            outline.hole for outline in outlines
        )
        shape = [o.points.ravel().tolist() for o in outlines] if as_polygons else _rle(item)
        annotations[index] = before | _measures(item) | {"segmentation": shape}
    return to_json(document | {"annotations": annotations})
