"""GeoJSON (RFC 7946) in pixels, as QuPath takes it: a feature per object, holes kept.

Coordinates: x to the right, y down, (0, 0) the corner of the first pixel. The file names the image
and its size, which the standard lacks, in a member `image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError
from clickcut.polygons import Polygon
from clickcut_formats.annotation import LabelledImage, LabelledObject
from clickcut_formats.errors import Faults, FormatError
from clickcut_formats.files import Encoded
from clickcut_formats.reading import (
    entries,
    fill_polygons,
    image_size,
    polygon_fault,
    read_json,
    to_json,
)

Ring = list[list[float]]


def encode(images: Sequence[LabelledImage], *, tolerance: float) -> Encoded:
    """A file per image, `photo.geojson`.

    Args:
        images: with their objects.
        tolerance: largest distance in pixels between polygons and exact outline.
    """
    files = {}
    for image in images:
        document = {
            "type": "FeatureCollection",
            "image": {"name": image.name, "width": image.width, "height": image.height},
            "features": [_feature(item, tolerance) for item in image.objects],
        }
        files[f"{image.path_stem}.geojson"] = to_json(document)
    return Encoded(files)


def _feature(item: LabelledObject, tolerance: float) -> dict[str, Any]:
    parts = _grouped(item.outlines(tolerance))
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": parts}
    if len(parts) == 1:
        geometry = {"type": "Polygon", "coordinates": parts[0]}
    properties = {"objectType": "annotation", "classification": {"name": item.label}}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _grouped(outlines: list[Polygon]) -> list[list[Ring]]:
    """Each outer ring with the holes inside of it.

    A hole lies in the smallest outer ring that holds its first corner, moved half a pixel off the
    hole so that it cannot lie on the ring.
    """
    outer = [outline.points for outline in outlines if not outline.hole]
    groups = [[_closed(ring)] for ring in outer]
    by_area = sorted(range(len(outer)), key=lambda n: abs(cv2.contourArea(outer[n])))
    for hole in (outline.points for outline in outlines if outline.hole):
        middle = (hole[0] + hole[1]) / 2
        x, y = float(middle[0]), float(middle[1])
        inside = (n for n in by_area if cv2.pointPolygonTest(outer[n], (x, y), False) >= 0)
        groups[next(inside, by_area[-1])].append(_closed(hole))
    return groups


def _closed(points: NDArray[np.float32]) -> Ring:
    ring: Ring = points.tolist()
    return [*ring, ring[0]]


# ---- reading


def is_geojson(document: object) -> bool:
    """Whether a JSON document looks like this format."""
    return isinstance(document, dict) and document.get("type") == "FeatureCollection"


def read(path: Path) -> list[LabelledImage]:
    """Read a file that names its image and size, as `encode` writes it.

    Raises:
        FormatError: names every feature that cannot be used.
    """
    return parse(read_json(path), str(path))


def parse(document: Any, source: str) -> list[LabelledImage]:
    """The image and its objects.

    Args:
        document: JSON.
        source: where it was read.

    Raises:
        FormatError: names every feature that cannot be used.
    """
    faults = Faults(source)
    image = document.get("image") if isinstance(document, dict) else None
    if not isinstance(image, dict) or not isinstance(image.get("name"), str):
        raise FormatError(source, ['has no member "image" with name, width and height'])
    sides = image.get("width"), image.get("height")
    size = image_size(*sides)
    if size is None:
        raise FormatError(source, [f"{sides[0]!r} x {sides[1]!r} is not an image size"])
    objects = []
    for where, feature in entries(document, "features", faults):
        try:
            objects.append(_object(feature, *size))
        except EventError as error:
            faults.add(where, str(error))
    faults.check()
    return [LabelledImage(image["name"], *size, objects)]


def _object(feature: dict[str, Any], width: int, height: int) -> LabelledObject:
    geometry, properties = feature.get("geometry"), feature.get("properties")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
        raise EventError(f"a geometry of type {kind!r} is not an area")
    parts = geometry.get("coordinates")
    if kind == "Polygon":
        parts = [parts]
    if not isinstance(parts, list) or not all(isinstance(p, list) and p for p in parts):
        raise EventError("its coordinates are not lists of rings")
    mask = np.zeros((height, width), np.bool_)
    for rings in parts:
        outer, *holes = (_filled(ring, width, height) for ring in rings)
        for hole in holes:
            outer &= ~hole
        mask |= outer
    return LabelledObject.of(_label(properties), mask)


def _label(properties: object) -> str:
    """The class in QuPath's place, or a plain `label` or `name`."""
    if isinstance(properties, dict):
        kind = properties.get("classification")
        for holder, key in ((kind, "name"), (properties, "label"), (properties, "name")):
            if isinstance(holder, dict) and isinstance(holder.get(key), str):
                return str(holder[key])
    return "object"


def _filled(ring: object, width: int, height: int) -> NDArray[np.bool_]:
    if not isinstance(ring, list) or not all(isinstance(p, list) and len(p) >= 2 for p in ring):
        raise EventError("a ring is not a list of [x, y]")
    points = ring[:-1] if len(ring) > 1 and ring[0] == ring[-1] else ring
    flat = [value for point in points for value in point[:2]]
    if fault := polygon_fault(flat, width, height):
        raise EventError(fault)
    return fill_polygons([flat], width, height)
