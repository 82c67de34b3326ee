"""COCO instances: polygons and run lengths; the pixels of crowds are void."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from clickcut_eval.datasets.entry import LIMITS, Annotated, Entry, FaultyPhotoError, read_bytes
from clickcut_eval.datasets.rle import Rle
from clickcut_train.errors import DataError

_FAR_OUTSIDE = 2
"""Corners of polygons farther outside than this many times the image's side are damage."""


def coco_entries(root: Path, splits: tuple[str, ...] = ()) -> list[Entry]:
    """The photos of a COCO tree.

    Args:
        root: holds `instances.json` and `images/`, or, as COCO itself,
            `annotations/instances_SPLIT.json` and `SPLIT/`.
        splits: for COCO's own layout, for example `train2017`.

    Raises:
        DataError: the annotations are missing or not those of COCO.
    """
    if not splits:
        return _entries(root / "instances.json", root / "images")
    return [
        entry
        for split in splits
        for entry in _entries(root / f"annotations/instances_{split}.json", root / split)
    ]


def _entries(annotations: Path, images: Path) -> list[Entry]:
    document = _document(annotations)
    by_image: dict[str, list[dict[str, Any]]] = {}
    for annotation in document["annotations"]:
        by_image.setdefault(repr(annotation.get("image_id")), []).append(annotation)

    def entry(image: dict[str, Any]) -> Entry:
        annotations = by_image.get(repr(image.get("id")), [])
        return Entry(str(image.get("file_name")), lambda: _annotated(image, images, annotations))

    return [entry(image) for image in document["images"]]


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        there = sorted(p.stem.removeprefix("instances_") for p in path.parent.glob("instances_*"))
        hint = f"; there are the splits {', '.join(there)}" if there else ""
        raise DataError(
            f"{path} cannot be read ({error.strerror}){hint}; COCO's own layout needs a split: "
            "DIR:train2017"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    for key in ("images", "annotations"):
        items = document.get(key) if isinstance(document, dict) else None
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            raise DataError(f"{path}: not COCO instances: no list {key!r} of objects")
    return document


def _annotated(image: dict[str, Any], images: Path, annotations: list[dict[str, Any]]) -> Annotated:
    name, height, width = image.get("file_name"), image.get("height"), image.get("width")
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise FaultyPhotoError(f"file_name {name!r} is no name inside {images.name}")
    if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
        raise FaultyPhotoError(f"its height and width are {height!r} and {width!r}")
    if height * width > LIMITS.max_pixels or max(height, width) > LIMITS.max_side:
        raise FaultyPhotoError(f"{width} x {height} pixels; at most {LIMITS.max_pixels:,} are read")
    rles, crowds, dropped = [], [], []
    for annotation in annotations:
        where = f"annotation {annotation.get('id')}"
        try:
            rle = segmentation_rle(annotation.get("segmentation"), height, width)
        except ValueError as error:
            dropped.append(f"{where}: {error}")
            continue
        if not coco_mask.area(rle):
            dropped.append(f"{where}: an instance without pixels")
        elif annotation.get("iscrowd"):
            crowds.append(rle)
        else:
            rles.append(rle)
    void = coco_mask.merge(crowds) if crowds else None
    return Annotated(read_bytes(images / name), tuple(rles), void, None, tuple(dropped))


def segmentation_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Run lengths of a COCO `segmentation`: polygons, or RLE with plain or compressed counts.

    Raises:
        ValueError: it is none of these, or does not fit an image of `height` x `width` pixels.
    """
    if isinstance(segmentation, dict):
        return _rle(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("its segmentation is neither polygons nor run lengths")
    far_x, far_y = _FAR_OUTSIDE * width, _FAR_OUTSIDE * height
    for polygon in segmentation:
        # Four numbers would be taken for a box by pycocotools.
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon needs at least three corners x, y")
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in polygon):
            raise ValueError("a polygon has corners that are no numbers")
        if not all(-far_x <= x <= far_x + width for x in polygon[::2]) or not all(
            -far_y <= y <= far_y + height for y in polygon[1::2]
        ):
            raise ValueError("a polygon lies far outside the image")
    rle: Rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return rle


def _rle(segmentation: dict[str, Any], height: int, width: int) -> Rle:
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if size != [height, width]:
        raise ValueError(f"its run lengths are of size {size}, the image has {[height, width]}")
    if isinstance(counts, list):
        if not all(isinstance(c, int) and c >= 0 for c in counts) or sum(counts) != height * width:
            raise ValueError("its run lengths do not add up to the image's pixels")
        rle: Rle = coco_mask.frPyObjects({"size": size, "counts": counts}, height, width)
        return rle
    if not isinstance(counts, str | bytes):
        raise ValueError("its run lengths have no counts")
    try:
        encoded = counts.encode("ascii") if isinstance(counts, str) else counts
        found: Rle = {"size": [height, width], "counts": encoded}
        # pycocotools reads runs that end early; encoded again, those have other counts.
        whole = coco_mask.encode(coco_mask.decode(found))["counts"] == encoded
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(f"its run lengths are damaged ({error})") from error
    if not whole:
        raise ValueError("its run lengths are damaged: they do not describe a whole image")
    return found
