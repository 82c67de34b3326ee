"""CVAT: the `points` of a mask shape as its API has them, and the file "CVAT for images 1.1".

A mask is its bounding box and run lengths row by row inside of it, background first.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError
from clickcut_formats.annotation import LabelledImage, LabelledObject
from clickcut_formats.errors import Faults, FormatError
from clickcut_formats.files import Encoded
from clickcut_formats.reading import (
    fill_polygons,
    image_size,
    polygon_fault,
    read_bytes,
    runs_to_mask,
)

FILE = "annotations.xml"


def mask_points(item: LabelledObject) -> list[int]:
    """Run lengths, then left, top, right and bottom (inclusive): `points` of a mask shape.

    An empty mask is the first pixel, not selected.
    """
    x, y, width, height = item.box if item.area else (0, 0, 1, 1)
    flat = item.mask[y : y + height, x : x + width].ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=False))
    runs: list[int] = np.diff(starts, prepend=0, append=flat.size).tolist()
    return [*runs, x, y, x + width - 1, y + height - 1]


def encode(images: Sequence[LabelledImage]) -> Encoded:
    """One file of all images."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, image in enumerate(images):
        size = {"width": str(image.width), "height": str(image.height)}
        parent = ElementTree.SubElement(
            root, "image", {"id": str(number), "name": image.name, **size}
        )
        for item in image.objects:
            *runs, left, top, right, bottom = mask_points(item)
            ElementTree.SubElement(
                parent,
                "mask",
                {
                    "label": item.label,
                    "source": "semi-auto",
                    "occluded": "0",
                    "rle": ", ".join(map(str, runs)),
                    "left": str(left),
                    "top": str(top),
                    "width": str(right - left + 1),
                    "height": str(bottom - top + 1),
                    "z_order": "0",
                },
            )
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return Encoded({FILE: data + b"\n"})


# ---- reading


def read(path: Path) -> list[LabelledImage]:
    """Read masks and polygons of a "CVAT for images 1.1" file.

    Raises:
        FormatError: names every image and shape that cannot be used.
    """
    return parse(read_bytes(path), str(path))


def parse(data: bytes, source: str) -> list[LabelledImage]:
    """Images and objects of a file that was read from `source`.

    Raises:
        FormatError: names every image and shape that cannot be used.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise FormatError(source, ["XML with a document type is not taken"])
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(source, [f"not XML ({error})"]) from error
    if root.tag != "annotations":
        raise FormatError(source, [f"its root is <{root.tag}> and not <annotations>"])
    faults = Faults(source)
    images, seen = [], set()
    for element in root.iter("image"):
        name = element.get("name", "")
        width, height = _number(element, "width"), _number(element, "height")
        where = f"image {name!r} (id {element.get('id')})"
        if not name or image_size(width, height) is None:
            faults.add(where, "has no name or no size")
            continue
        if name in seen:
            faults.add(where, "this name occurs twice")
        seen.add(name)
        images.append(
            LabelledImage(name, width, height, _objects(element, where, width, height, faults))
        )
    faults.check()
    return images


def _objects(
    image: ElementTree.Element, where: str, width: int, height: int, faults: Faults
) -> list[LabelledObject]:
    objects = []
    for number, shape in enumerate(image):
        if shape.tag not in ("mask", "polygon"):
            continue
        at = f"{where}, shape {number}"
        try:
            mask = (_mask if shape.tag == "mask" else _polygon)(shape, width, height)
            if not shape.get("label"):
                raise EventError("has no label")
        except EventError as error:
            faults.add(at, str(error))
            continue
        objects.append(LabelledObject.of(shape.get("label", ""), mask))
    return objects


def _number(element: ElementTree.Element, name: str) -> int:
    """A whole number of an attribute; -1 when it is none."""
    text = element.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else -1


def _mask(shape: ElementTree.Element, width: int, height: int) -> NDArray[np.bool_]:
    x, y = _number(shape, "left"), _number(shape, "top")
    w, h = _number(shape, "width"), _number(shape, "height")
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise EventError(f"its box does not lie inside the image of {width} x {height}")
    texts = [text.strip() for text in shape.get("rle", "").split(",")]
    if not all(text.isascii() and text.isdecimal() and len(text) < 12 for text in texts):
        raise EventError("its rle is not a list of numbers")
    part = runs_to_mask([int(text) for text in texts], w, h, "C")
    if part is None:
        raise EventError(f"its runs do not cover its box of {w} x {h} pixels")
    mask = np.zeros((height, width), np.bool_)
    mask[y : y + h, x : x + w] = part
    return mask


def _polygon(shape: ElementTree.Element, width: int, height: int) -> NDArray[np.bool_]:
    try:
        flat = [float(n) for pair in shape.get("points", "").split(";") for n in pair.split(",")]
    except ValueError:
        raise EventError("its points are not numbers x,y;x,y;...") from None
    if fault := polygon_fault(flat, width, height):
        raise EventError(fault)
    return fill_polygons([flat], width, height)
