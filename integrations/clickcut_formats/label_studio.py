"""Label Studio's tasks with brush or polygon regions, as its import and JSON export have them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError
from clickcut_formats import brush_rle
from clickcut_formats.annotation import LabelledImage, LabelledObject
from clickcut_formats.errors import Faults
from clickcut_formats.files import Encoded
from clickcut_formats.reading import (
    entries,
    fill_polygons,
    image_size,
    polygon_fault,
    read_json,
    to_json,
)

FILE = "tasks.json"

FROM_NAME, TO_NAME, DATA_KEY = "mask", "image", "image"
"""Names in the labelling configuration: `<BrushLabels name="mask" toName="image">`, `$image`."""


def encode(images: Sequence[LabelledImage], *, polygons: bool, tolerance: float) -> Encoded:
    """One file with a task per image.

    Args:
        images: with their objects.
        polygons: regions are polygons, which lose holes; else brush masks, which are exact.
        tolerance: largest distance in pixels between polygons and exact outline.
    """
    tasks = []
    notes: list[str] = []
    for image in images:
        regions = []
        for number, item in enumerate(image.objects):
            region_id = _region_id(image.name, number)
            if not polygons:
                regions.append(brush_region(item, region_id))
                continue
            regions += polygon_regions(item, region_id, tolerance)
            holes = sum(outline.hole for outline in item.outlines(tolerance))
            if holes:
                lost = "1 hole is" if holes == 1 else f"{holes} holes are"
                notes.append(
                    f"{image.name}, {item.label}: {lost} filled, a polygon of Label Studio has none"
                )
        tasks.append({"data": {DATA_KEY: image.name}, "annotations": [{"result": regions}]})
    return Encoded({FILE: to_json(tasks)}, notes)


def brush_region(
    item: LabelledObject, region_id: str, from_name: str = FROM_NAME, to_name: str = TO_NAME
) -> dict[str, Any]:
    """A region of type `brushlabels`; exact.

    Args:
        item: the object.
        region_id: unique within the annotation.
        from_name: of the labelling configuration's tag for brush regions.
        to_name: of its tag for the image.
    """
    value = {"format": "rle", "rle": brush_rle.encode(item.mask), "brushlabels": [item.label]}
    region = _region(item, region_id, "brushlabels", value)
    return region | {"from_name": from_name, "to_name": to_name}


def polygon_regions(
    item: LabelledObject,
    region_id: str,
    tolerance: float,
    from_name: str = FROM_NAME,
    to_name: str = TO_NAME,
) -> list[dict[str, Any]]:
    """A region of type `polygonlabels` for each part of an object; holes are filled.

    Args:
        item: the object.
        region_id: unique within the annotation; further parts get a suffix.
        tolerance: largest distance in pixels from the exact outline.
        from_name: of the labelling configuration's tag for polygon regions.
        to_name: of its tag for the image.

    Raises:
        EventError: there are too many outlines; the message says which tolerance would do.
    """
    percent = np.array((100 / item.width, 100 / item.height), np.float64)
    regions = []
    for number, outline in enumerate(o for o in item.outlines(tolerance) if not o.hole):
        value = {
            "points": (outline.points * percent).tolist(),
            "closed": True,
            "polygonlabels": [item.label],
        }
        name = f"{region_id}-{number}" if number else region_id
        region = _region(item, name, "polygonlabels", value)
        regions.append(region | {"from_name": from_name, "to_name": to_name})
    return regions


def _region(item: LabelledObject, region_id: str, kind: str, value: object) -> dict[str, Any]:
    return {
        "id": region_id,
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "type": kind,
        "original_width": item.width,
        "original_height": item.height,
        "image_rotation": 0,
        "value": value,
    }


def _region_id(name: str, number: int) -> str:
    return hashlib.sha256(f"{name}\0{number}".encode()).hexdigest()[:10]


# ---- reading


def is_label_studio(document: object) -> bool:
    """Whether a JSON document looks like this format."""
    return (
        isinstance(document, list)
        and bool(document)
        and all(isinstance(task, dict) and "data" in task for task in document)
    )


def read(path: Path) -> list[LabelledImage]:
    """Read brush and polygon regions; regions of other kinds are left aside.

    Raises:
        FormatError: names every task and region that cannot be used.
    """
    return parse(read_json(path), str(path))


def parse(document: Any, source: str) -> list[LabelledImage]:
    """Images and objects of a document that was read from `source`.

    Raises:
        FormatError: names every task and region that cannot be used.
    """
    faults = Faults(source)
    images = []
    for where, task in entries({"tasks": document}, "tasks", faults):
        image = _image(task, where, faults)
        if image is not None:
            images.append(image)
    faults.check()
    return images


def _image(task: dict[str, Any], where: str, faults: Faults) -> LabelledImage | None:
    data = task.get("data")
    name = data.get(DATA_KEY) if isinstance(data, dict) else None
    if not isinstance(name, str) or not name:
        faults.add(where, f"its data has no {DATA_KEY!r}")
        return None
    objects: list[LabelledObject] = []
    for _, annotation in entries(task, "annotations", faults):
        for at, region in entries(annotation, "result", faults):
            if region.get("type") in ("brushlabels", "polygonlabels"):
                try:
                    objects.append(_object(region))
                except EventError as error:
                    faults.add(f"{where}, {at}", str(error))
    sizes = {(item.width, item.height) for item in objects}
    if len(sizes) > 1:
        faults.add(where, f"its regions name different sizes: {sorted(sizes)}")
    if len(sizes) != 1:
        return None
    width, height = sizes.pop()
    return LabelledImage(name, width, height, objects)


def _object(region: dict[str, Any]) -> LabelledObject:
    sides = region.get("original_width"), region.get("original_height")
    size = image_size(*sides)
    value = region.get("value")
    kind = str(region["type"])
    if size is None:
        raise EventError(f"{sides[0]!r} x {sides[1]!r} is not an image size")
    if not isinstance(value, dict):
        raise EventError("has no value")
    labels = value.get(kind)
    label = labels[0] if isinstance(labels, list) and labels else None
    if not isinstance(label, str):
        raise EventError("has no label")
    mask = (_brush if kind == "brushlabels" else _polygon)(value, *size)
    return LabelledObject.of(label, mask)


def _brush(value: dict[str, Any], width: int, height: int) -> NDArray[np.bool_]:
    rle = value.get("rle")
    if not isinstance(rle, list) or not all(isinstance(b, int) and 0 <= b < 256 for b in rle):
        raise EventError("its rle is not a list of bytes")
    return brush_rle.decode(bytes(rle), height, width)


def _polygon(value: dict[str, Any], width: int, height: int) -> NDArray[np.bool_]:
    points = value.get("points")
    try:
        flat = [n * side / 100 for x, y in points for n, side in ((x, width), (y, height))]  # type: ignore[union-attr]
    except (TypeError, ValueError, OverflowError):
        raise EventError("its points are not a list of [x, y]") from None
    if fault := polygon_fault(flat, width, height):
        raise EventError(fault)
    return fill_polygons([flat], width, height)
