"""labelme's JSON file per image, and repairs inside such a file.

An object without holes is a polygon for each of its parts, joined by `group_id`; one with holes is
a shape of type `mask`, which labelme has from version 5.3 on and which is exact.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickcut.encoding import to_png
from clickcut.errors import EventError
from clickcut.polygons import Polygon
from clickcut_formats.annotation import LabelledImage, LabelledObject
from clickcut_formats.errors import Faults, FormatError
from clickcut_formats.files import Encoded
from clickcut_formats.reading import (
    entries,
    fill_polygons,
    image_size,
    is_number,
    polygon_fault,
    read_json,
    to_json,
)

VERSION = "5.5.0"
"""Version of labelme whose files these are."""

_AREAS = ("polygon", "rectangle", "circle", "mask")


def encode(images: Sequence[LabelledImage], *, tolerance: float) -> Encoded:
    """A file per image, `photo.json`.

    Args:
        images: with their objects.
        tolerance: largest distance in pixels between polygons and exact outline.
    """
    files = {}
    for image in images:
        shapes = [
            shape
            for number, item in enumerate(image.objects, 1)
            for shape in _shapes(item, number, tolerance)
        ]
        document: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": image.name.rpartition("/")[2],
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        files[f"{image.path_stem}.json"] = to_json(document)
    return Encoded(files)


def _shapes(item: LabelledObject, group: int | None, tolerance: float) -> list[dict[str, Any]]:
    outlines = item.outlines(tolerance)
    base = {"label": item.label, "description": "", "flags": {}}
    if any(outline.hole for outline in outlines):
        return [base | {"group_id": None, "mask": None} | _mask_shape(item)]
    if len(outlines) == 1:
        group = None
    return [base | {"group_id": group, "mask": None} | _polygon_shape(o) for o in outlines]


def _polygon_shape(outline: Polygon) -> dict[str, Any]:
    return {"shape_type": "polygon", "points": outline.points.tolist()}


def _mask_shape(item: LabelledObject) -> dict[str, Any]:
    x, y, width, height = item.box
    part = np.ascontiguousarray(item.mask[y : y + height, x : x + width])
    return {
        "shape_type": "mask",
        "points": [[float(x), float(y)], [float(x + width - 1), float(y + height - 1)]],
        "mask": base64.b64encode(to_png(part)).decode("ascii"),
    }


# ---- reading


def is_labelme(document: object) -> bool:
    """Whether a JSON document looks like this format."""
    return isinstance(document, dict) and "shapes" in document


def read(path: Path) -> list[LabelledImage]:
    """Read a file; polygons of one `group_id` and label are one object.

    Raises:
        FormatError: names every shape that cannot be used.
    """
    return parse(read_json(path), str(path))


def parse(document: Any, source: str) -> list[LabelledImage]:
    """The image and its objects; ids are the indices of their first shapes.

    Args:
        document: JSON.
        source: where it was read.

    Raises:
        FormatError: names every shape that cannot be used.
    """
    if not isinstance(document, dict):
        raise FormatError(source, ["a labelme file is a JSON object with shapes"])
    faults = Faults(source)
    name = document.get("imagePath")
    sides = document.get("imageWidth"), document.get("imageHeight")
    size = image_size(*sides)
    if not isinstance(name, str) or not name:
        faults.add("imagePath", "is missing")
    if size is None:
        faults.add(
            "imageWidth, imageHeight",
            f"{sides[0]!r} x {sides[1]!r} is not an image size",
        )
    faults.check()
    width, height = size or (0, 0)
    masks: dict[tuple[str, object], tuple[int, NDArray[np.bool_]]] = {}
    for index, (where, shape) in enumerate(entries(document, "shapes", faults)):
        kind, label = shape.get("shape_type", "polygon"), shape.get("label")
        if kind not in _AREAS:
            continue  # points and lines have no area; they stay in the file
        if not isinstance(label, str):
            faults.add(where, "has no label")
            continue
        try:
            mask = _mask(shape, kind, width, height)
        except EventError as error:
            faults.add(where, str(error))
            continue
        group = shape.get("group_id")
        key = label, f"shape {index}" if group is None else str(group)
        first, before = masks.get(key, (index, None))
        masks[key] = first, mask if before is None else before | mask
    faults.check()
    objects = [LabelledObject.of(key[0], mask, first) for key, (first, mask) in masks.items()]
    return [LabelledImage(str(name).replace("\\", "/"), width, height, objects)]


def _mask(shape: dict[str, Any], kind: str, width: int, height: int) -> NDArray[np.bool_]:
    points = shape.get("points")
    is_pairs = isinstance(points, list) and all(
        isinstance(p, list) and len(p) == 2 and all(is_number(n) for n in p) for p in points
    )
    if not isinstance(points, list) or not is_pairs:
        raise EventError("its points are not a list of [x, y]")
    if kind == "polygon":
        outline = points
    elif len(points) != 2:
        raise EventError(f"a {kind} has 2 points, this one {len(points)}")
    elif kind == "mask":
        return _png_mask(shape.get("mask"), points, width, height)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points
        outline = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    else:
        outline = np.clip(_circle(points), 0, (width, height)).tolist()
    flat = [value for point in outline for value in point]
    if fault := polygon_fault(flat, width, height):
        raise EventError(fault)
    return fill_polygons([flat], width, height)


def _circle(points: list[list[float]]) -> NDArray[np.float64]:
    centre, edge = np.array(points, np.float64)
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.hypot(*(edge - centre))
    return np.asarray(centre + radius * np.stack((np.cos(angle), np.sin(angle)), axis=1))


def _png_mask(
    text: object, points: list[list[float]], width: int, height: int
) -> NDArray[np.bool_]:
    (x0, y0), (x1, y1) = ((round(x), round(y)) for x, y in points)
    if not (0 <= x0 <= x1 < width and 0 <= y0 <= y1 < height):
        raise EventError(f"its box does not lie inside the image of {width} x {height}")
    size = x1 - x0 + 1, y1 - y0 + 1
    try:
        if not isinstance(text, str):
            raise ValueError("no text")
        data = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.size != size:
                raise EventError(
                    f"its mask is {image.size[0]} x {image.size[1]}, its box {size[0]} x {size[1]}"
                )
            part = np.array(image.convert("L")) != 0
    except (ValueError, binascii.Error, OSError, SyntaxError) as error:
        raise EventError("its mask is not a PNG in base64") from error
    mask = np.zeros((height, width), np.bool_)
    mask[y0 : y1 + 1, x0 : x1 + 1] = part
    return mask


# ---- repairing


def repaired(document: dict[str, Any], masks: Mapping[int, LabelledObject]) -> bytes:
    """The file with other masks for some objects; everything else stays as it was.

    Args:
        document: as read, sound.
        masks: by the index of an object's first shape. Its other shapes of the same group go.
    """
    shapes: list[dict[str, Any]] = []
    gone: set[tuple[str, object]] = set()
    for index, shape in enumerate(document["shapes"]):
        key = shape["label"], shape.get("group_id")
        if index in masks:
            fresh = _shapes(
                masks[index], shape.get("group_id") or _free_group(document, index), 0.0
            )
            kept = {k: v for k, v in shape.items() if k not in ("points", "shape_type", "mask")}
            shapes += [new | kept | {"group_id": new["group_id"]} for new in fresh]
            if shape.get("group_id") is not None:
                gone.add(key)
        elif key not in gone or shape.get("shape_type", "polygon") not in _AREAS:
            shapes.append(shape)
    return to_json(document | {"shapes": shapes})


def _free_group(document: dict[str, Any], index: int) -> int:
    """A group number that no shape has."""
    used = [s.get("group_id") for s in document["shapes"]]
    return max((n for n in used if isinstance(n, int)), default=0) + 1 + index
