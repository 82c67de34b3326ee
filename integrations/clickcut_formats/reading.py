"""Typed access to JSON from outside: what is missing or of another kind is named, not raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from clickcut_formats.annotation import MAX_PIXELS
from clickcut_formats.errors import Faults, FormatError

MAX_FILE_BYTES = 2**30
"""Largest annotation file."""

OUTSIDE = 1.0
"""Pixels by which a polygon may leave the image; tools round to whole pixels in their own ways."""


def read_bytes(path: Path) -> bytes:
    """The content of an annotation file.

    Raises:
        FormatError: it cannot be read, or is huge.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FormatError(str(path), [f"{size:,} bytes are more than {MAX_FILE_BYTES:,}"])
        return path.read_bytes()
    except OSError as error:
        raise FormatError(str(path), [f"cannot be read ({error.strerror})"]) from error


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises:
        FormatError: no JSON; the message says in which line and column it breaks.
    """
    data = read_bytes(path)
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FormatError(str(path), [f"{where}: not JSON ({error.msg})"]) from error
    except UnicodeDecodeError as error:
        raise FormatError(str(path), [f"byte {error.start}: not UTF-8 text"]) from error
    except (RecursionError, ValueError) as error:
        raise FormatError(str(path), [f"not usable JSON ({error})"]) from error


def to_json(document: object) -> bytes:
    """A JSON document as a file."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def is_number(value: object) -> bool:
    """Whether it is a finite number that pixels can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e9 < value < 1e9  # False for NaN


def is_count(value: object, largest: int = MAX_PIXELS) -> bool:
    """Whether it is a whole number from 1 to `largest`."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= largest


def image_size(width: Any, height: Any) -> tuple[int, int] | None:
    """The sides of an image; None when these are none."""
    if is_count(width) and is_count(height) and width * height <= MAX_PIXELS:
        return width, height
    return None


def entries(
    document: dict[str, Any], key: str, faults: Faults
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list with their names in messages, such as `annotations[3] (id 17)`."""
    found = document.get(key)
    if not isinstance(found, list):
        faults.add(key, "is not a list" if key in document else "is missing")
        return
    for index, entry in enumerate(found):
        where = f"{key}[{index}]"
        if not isinstance(entry, dict):
            faults.add(where, "is not an object")
            continue
        if isinstance(entry.get("id"), int | str):
            where += f" (id {entry['id']})"
        yield where, entry


def polygon_fault(points: object, width: int, height: int) -> str:
    """What is wrong with a flat list x0, y0, x1, y1, ...; "" when it is sound."""
    if not isinstance(points, list) or not all(is_number(value) for value in points):
        return "a polygon is not a list of finite numbers"
    if len(points) % 2:
        return f"a polygon has {len(points)} numbers, so a point lacks its y"
    if len(points) < 6:
        return f"a polygon has {len(points) // 2} points, and an area needs 3"
    for x, y in zip(points[0::2], points[1::2], strict=True):
        inside = -OUTSIDE <= x <= width + OUTSIDE and -OUTSIDE <= y <= height + OUTSIDE
        if not inside:
            return f"point ({x:g}, {y:g}) lies outside the image of {width} x {height}"
    return ""


def fill_polygons(polygons: list[list[float]], width: int, height: int) -> NDArray[np.bool_]:
    """The union of polygons by COCO's own rule, (H, W) bool.

    Args:
        polygons: x0, y0, x1, y1, ... each, (0, 0) the corner of the first pixel; checked.
        width: of the image.
        height: of the image.
    """
    mask = np.zeros((height, width), np.bool_)
    for points in polygons:
        corners = np.clip(np.reshape(points, (-1, 2)), 0, (width, height))
        rle = coco.frPyObjects([corners.ravel().tolist()], height, width)
        mask |= coco.decode(rle)[..., 0].astype(np.bool_)
    return mask


def runs_to_mask(runs: list[Any], width: int, height: int, order: str) -> NDArray[np.bool_] | None:
    """Alternating run lengths, background first, as (H, W) bool; None when they do not fit.

    Args:
        runs: from outside.
        width: of the mask.
        height: of the mask.
        order: "C" for row by row, "F" for column by column.
    """
    for run in runs:
        if isinstance(run, bool) or not isinstance(run, int) or run < 0:
            return None
    if not runs or sum(runs) != width * height:
        return None
    values = np.arange(len(runs)) % 2 == 1
    flat = np.repeat(values, runs)
    if order == "C":
        return flat.reshape(height, width)
    return np.ascontiguousarray(flat.reshape(width, height).T)
