"""COCO instances: polygons and run lengths; the pixels of crowds are void."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from clickcut_eval.datasets.entry import LIMITS, Annotated, Entry, FaultyPhotoError, stray
from clickcut_eval.datasets.rle import Rle
from clickcut_eval.errors import DatasetError

Fields = dict[str, Any]
"""An object of the file."""

_NAMED = 5
"""Annotations that a message lists."""

_FAR_OUTSIDE = 2
"""Corners of polygons farther outside than this many times the image's side are damage."""


def coco_entries(root: Path, splits: tuple[str, ...] = ()) -> list[Entry]:
    """The photos of a COCO tree.

    Args:
        root: holds `instances.json` and `images/`, or, as COCO itself,
            `annotations/instances_SPLIT.json` and `SPLIT/`.
        splits: for COCO's own layout, for example `train2017`.

    Raises:
        DatasetError: the annotations are missing or not those of COCO.

    Annotations of images that are not listed make a faulty entry for each such image, at the end.
    """
    if not splits:
        return _entries(root / "instances.json", root / "images")
    return [
        entry
        for split in splits
        for entry in _entries(root / f"annotations/instances_{split}.json", root / split)
    ]


def _entries(path: Path, images: Path) -> list[Entry]:
    document = read_instances(path)
    by_image, unknown = by_photo(document)
    entries = [
        Entry(str(image.get("file_name")), *_image_and_reader(image, images, by_image))
        for image in document["images"]
    ]
    return entries + [stray(f"image_id {ident}", reason) for ident, reason in unknown.items()]


def _image_and_reader(
    image: Fields, images: Path, by_image: dict[str, list[Fields]]
) -> tuple[Path | None, Callable[[], Annotated]]:
    read = partial(_annotated, image, images, by_image.get(repr(image.get("id")), []))
    try:
        return photo_file(image, images)[0], read
    except FaultyPhotoError:
        return None, read  # which raises the same


def by_photo(document: Fields) -> tuple[dict[str, list[Fields]], dict[str, str]]:
    """The annotations by `repr` of their photo's id; and those of ids that no photo has.

    Returns:
        Annotations of each photo that has some; for each unknown id, which annotations name it.
    """
    by_image: dict[str, list[Fields]] = {}
    for annotation in document["annotations"]:
        by_image.setdefault(repr(annotation.get("image_id")), []).append(annotation)
    unknown = by_image.keys() - {repr(image.get("id")) for image in document["images"]}
    reasons = {}
    for ident in [i for i in by_image if i in unknown]:
        named = [str(a.get("id")) for a in by_image.pop(ident)]
        listed = ", ".join(named[:_NAMED]) + (", ..." if len(named) > _NAMED else "")
        reasons[ident] = f"no such image is listed; annotations of it: {listed}"
    return by_image, reasons


def read_instances(path: Path) -> Fields:
    """A file of COCO instances; `images` and `annotations` are lists of objects.

    Raises:
        DatasetError: it cannot be read or is of another format.
    """
    try:
        document: Fields = json.loads(path.read_bytes())
    except OSError as error:
        there = sorted(p.stem.removeprefix("instances_") for p in path.parent.glob("instances_*"))
        hint = f"; there are the splits {', '.join(there)}" if there else ""
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}){hint}; COCO's own layout needs a split: "
            "coco:FOLDER:train2017"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    for key in ("images", "annotations"):
        items = document.get(key) if isinstance(document, dict) else None
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            raise DatasetError(f"{path}: not COCO instances: no list {key!r} of objects")
    return document


def photo_file(image: Fields, images: Path) -> tuple[Path, int, int]:
    """File, height and width of an entry of `images`.

    Raises:
        FaultyPhotoError: a name that leads out of the folder `images`, or an absurd size.
    """
    name, height, width = image.get("file_name"), image.get("height"), image.get("width")
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise FaultyPhotoError(f"file_name {name!r} is not a name inside {images.name}")
    if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
        raise FaultyPhotoError(f"its height and width are {height!r} and {width!r}")
    if height * width > LIMITS.max_pixels or max(height, width) > LIMITS.max_side:
        raise FaultyPhotoError(f"{width} x {height} pixels; at most {LIMITS.max_pixels:,} are read")
    return images / name, height, width


def _annotated(image: Fields, images: Path, annotations: list[Fields]) -> Annotated:
    _, height, width = photo_file(image, images)
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
    return Annotated((height, width), tuple(rles), void, dropped=tuple(dropped))


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
            raise ValueError("a polygon has corners that are not numbers")
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
