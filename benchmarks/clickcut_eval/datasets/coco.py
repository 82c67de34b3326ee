"""COCO instances: some objects of every class (paper section 4.2: 10 of each of the 80)."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clickcut_eval.datasets.files import Faults, folder
from clickcut_eval.errors import DatasetError
from clickcut_eval.targets import Target, Truth

Segmentation = list[list[float]] | dict[str, Any]
"""Polygons x1, y1, x2, y2, ... or COCO's RLE."""


def drawn(segmentation: Segmentation, width: int, height: int) -> Truth:
    """The mask of an annotation, drawn by COCO's own code.

    Raises:
        DatasetError: the annotation cannot be drawn.
    """
    from pycocotools import mask as coder

    try:
        if isinstance(segmentation, dict):
            runs = segmentation
            if isinstance(runs["counts"], list):
                runs = coder.frPyObjects(runs, height, width)
        else:
            runs = coder.merge(coder.frPyObjects(segmentation, height, width))
        mask = coder.decode(runs).astype(bool)
    except Exception as error:  # pycocotools raises plain Exception
        raise DatasetError(f"an annotation cannot be drawn: {error}") from error
    return Truth(mask, np.zeros_like(mask))


def coco(root: Path, per_class: int = 10) -> list[Target]:
    """COCO: an `instances_*.json` (or `instances.json`) in `root` or `root/annotations`.

    Of every class `per_class` objects are drawn at random, the same for every call: those whose id
    has the smallest CRC-32. Crowds are left out. Photographs are looked for in `images/` and in the
    folder that the file's name ends in (`val2017/`).

    Raises:
        DatasetError: no file or several, not COCO's format, photographs missing or of another size.
    """
    path = _annotations(root)
    try:
        document = json.loads(path.read_text())
        images = {i["id"]: i for i in document["images"]}
        names = {c["id"]: c["name"] for c in document["categories"]}
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for annotation in document["annotations"]:
            if not annotation.get("iscrowd", 0):
                groups[names[annotation["category_id"]]].append(annotation)
        photographs = folder(root, "images", path.stem.removeprefix("instances_"))
        faults = Faults(root)
        targets = []
        for name in sorted(groups):
            chosen = sorted(groups[name], key=lambda a: (_draw(a["id"]), a["id"]))[:per_class]
            for a in sorted(chosen, key=lambda a: int(a["id"])):
                image = images[a["image_id"]]
                file, size = photographs / image["file_name"], (image["width"], image["height"])
                faults.compare_with(file, path, *size)
                read = partial(drawn, a["segmentation"], *size)
                targets.append(Target(f"{name}_{a['id']}", file, name, read))
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a COCO instances file ({error!r})") from error
    faults.stop()
    if not targets:
        raise DatasetError(f"{path}: holds no objects")
    return targets


def _draw(ident: int) -> int:
    return zlib.crc32(str(ident).encode())


def _annotations(root: Path) -> Path:
    found = sorted(
        p for place in (root, root / "annotations") for p in place.glob("instances*.json")
    )
    if len(found) != 1:
        listed = ", ".join(p.name for p in found) or "none"
        raise DatasetError(f"{root}: one instances_*.json is wanted, found: {listed}")
    return found[0]
