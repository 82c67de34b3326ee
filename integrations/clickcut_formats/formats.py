"""All formats by name, and the one for a file that is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clickcut.errors import EventError
from clickcut_formats import coco, cvat, geojson, label_studio, labelme, png, yolo
from clickcut_formats.annotation import LabelledImage
from clickcut_formats.errors import Faults, FormatError
from clickcut_formats.files import Encoded
from clickcut_formats.reading import read_json

Encode = Callable[[Sequence[LabelledImage]], Encoded]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that can be written.

    Attributes:
        title: as a person calls it.
        encode: takes images and a tolerance in pixels for polygons.
        is_exact: whether a mask comes back bit by bit.
    """

    title: str
    encode: Callable[[Sequence[LabelledImage], float], Encoded]
    is_exact: bool


def _plain(encode: Encode) -> Callable[[Sequence[LabelledImage], float], Encoded]:
    return lambda images, _: encode(images)


def _with_tolerance(
    encode: Callable[..., Encoded],
) -> Callable[[Sequence[LabelledImage], float], Encoded]:
    return lambda images, tolerance: encode(images, tolerance=tolerance)


FORMATS: dict[str, Format] = {
    "png": Format("PNG, one per object", _plain(png.encode_binary), True),
    "png-indexed": Format("PNG, objects by number", _plain(png.encode_indexed), True),
    "coco": Format(
        "COCO JSON, run lengths", _with_tolerance(partial(coco.encode, polygons=False)), True
    ),
    "coco-polygons": Format(
        "COCO JSON, polygons", _with_tolerance(partial(coco.encode, polygons=True)), False
    ),
    "yolo": Format("YOLO segmentation", _with_tolerance(yolo.encode), False),
    "label-studio": Format(
        "Label Studio JSON, brush",
        _with_tolerance(partial(label_studio.encode, polygons=False)),
        True,
    ),
    "label-studio-polygons": Format(
        "Label Studio JSON, polygons",
        _with_tolerance(partial(label_studio.encode, polygons=True)),
        False,
    ),
    "labelme": Format("labelme JSON", _with_tolerance(labelme.encode), False),
    "cvat": Format("CVAT for images 1.1", _plain(cvat.encode), True),
    "geojson": Format("GeoJSON", _with_tolerance(geojson.encode), False),
}
"""By the name that a command takes."""


def encode(format_name: str, images: Sequence[LabelledImage], tolerance: float = 0.0) -> Encoded:
    """Turn images and their objects into files.

    Args:
        format_name: one of `FORMATS`.
        images: their names differ, without suffix as well.
        tolerance: largest distance in pixels between polygons and exact outline; 0 for exact.

    Returns:
        Files by name, and notes on what the format could not hold. An empty object is left out,
        with a note.

    Raises:
        FormatError: an unknown format, names that collide, a mask of another size than its image,
            a negative tolerance, outlines without number.
    """
    chosen = FORMATS.get(format_name)
    if chosen is None:
        raise FormatError(format_name, [f"no such format; there are {', '.join(FORMATS)}"])
    if not 0 <= tolerance <= 1000:
        raise FormatError(format_name, [f"a tolerance is from 0 to 1000 pixels, not {tolerance:g}"])
    _check(images)
    notes: list[str] = []
    try:
        found = chosen.encode([_without_empty(image, notes) for image in images], tolerance)
    except EventError as error:
        raise FormatError(f"{format_name} cannot be written", [str(error)]) from error
    return Encoded(found.files, notes + found.notes)


def _check(images: Sequence[LabelledImage]) -> None:
    faults = Faults("these images cannot be written")
    stems = Counter(image.path_stem for image in images)
    for image in images:
        if stems[image.path_stem] > 1:
            faults.add(image.name, "another image has this name (without suffix)")
        for number, item in enumerate(image.objects, 1):
            where = f"{image.name}, object {number} ({item.label})"
            if (item.width, item.height) != (image.width, image.height):
                faults.add(
                    where,
                    f"its mask is {item.width} x {item.height}, the image {image.width} x "
                    f"{image.height}",
                )
                continue
            try:
                item.check()
            except EventError as error:
                faults.add(where, str(error))
    faults.check()


def _without_empty(image: LabelledImage, notes: list[str]) -> LabelledImage:
    objects = []
    for number, item in enumerate(image.objects, 1):
        if item.area:
            objects.append(item)
        else:
            notes.append(f"{image.name}, object {number} ({item.label}): empty, left out")
    return LabelledImage(image.name, image.width, image.height, objects)


def read(path: Path) -> list[LabelledImage]:
    """Read an annotation file; what it is follows from its suffix and content.

    Raises:
        FormatError: it is none of those that can be read, or names every offender.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        return png.read(path)
    if suffix == ".xml":
        return cvat.read(path)
    document = read_json(path)
    for looks_like, parse in (
        (geojson.is_geojson, geojson.parse),
        (labelme.is_labelme, labelme.parse),
        (coco.is_coco, coco.parse),
        (label_studio.is_label_studio, label_studio.parse),
    ):
        if looks_like(document):
            return parse(document, str(path))
    raise FormatError(
        str(path), ["neither COCO, labelme, Label Studio nor GeoJSON; XML is read as CVAT's"]
    )
