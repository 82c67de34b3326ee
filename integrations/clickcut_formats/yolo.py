"""YOLO segmentation labels: a text file per image, a polygon per object, in parts of its sides.

Format: https://docs.ultralytics.com/datasets/segment/. A line holds one outline, so the parts of an
object are joined by a bridge of no width, as Ultralytics' own converter does, and holes are lost.
Write only: a label file says neither the image's size nor where it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clickcut_formats.annotation import LabelledImage, LabelledObject, labels_of
from clickcut_formats.files import Encoded


def encode(images: Sequence[LabelledImage], *, tolerance: float) -> Encoded:
    """`labels/photo.txt` for each image, and `data.yaml` with the names of the classes.

    Args:
        images: with their objects.
        tolerance: largest distance in pixels between polygons and exact outline.
    """
    labels = labels_of(images)
    notes: list[str] = []
    files = {}
    for image in images:
        lines = []
        for item in image.objects:
            ring = _ring(item, tolerance, f"{image.name}, {item.label}", notes)
            relative = ring / (image.width, image.height)
            numbers = " ".join(f"{value:.6g}" for value in relative.ravel())
            lines.append(f"{labels.index(item.label)} {numbers}\n")
        files[f"labels/{image.path_stem}.txt"] = "".join(lines).encode()
    names = "".join(f"  {n}: {json.dumps(label)}\n" for n, label in enumerate(labels))
    files["data.yaml"] = f"path: .\ntrain: images\nval: images\nnames:\n{names}".encode()
    return Encoded(files, notes)


def _ring(
    item: LabelledObject, tolerance: float, where: str, notes: list[str]
) -> NDArray[np.float32]:
    outlines = item.outlines(tolerance)
    holes = sum(outline.hole for outline in outlines)
    if holes:
        lost = "1 hole is" if holes == 1 else f"{holes} holes are"
        notes.append(f"{where}: {lost} lost, a polygon of YOLO has none")
    return _joined([outline.points for outline in outlines if not outline.hole])


def _joined(rings: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One ring through all: from the corner nearest to the next ring there, around and back."""
    joined = rings[0]
    for ring in rings[1:]:
        here = int(((joined - ring[0]) ** 2).sum(axis=1).argmin())
        there = int(((ring - joined[here]) ** 2).sum(axis=1).argmin())
        around = np.roll(ring, -there, axis=0)
        joined = np.concatenate((joined[: here + 1], around, around[:1], joined[here:]))
    return joined
