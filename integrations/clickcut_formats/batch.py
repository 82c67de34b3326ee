"""Many images and their clicks -> masks in a format, with a progress bar and a summary.

Clicks come in a CSV file with the columns `image`, `x`, `y` and, optionally, `positive` (1 or 0, 1
without it), `object` (a number; 1 without it) and `label`. Rows of one image and object are its
clicks, in order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import ClickcutError
from clickcut_formats.annotation import LabelledImage, LabelledObject
from clickcut_formats.errors import Faults, FormatError
from clickcut_formats.files import write
from clickcut_formats.formats import encode
from clickcut_formats.reading import is_number, read_bytes

Click = tuple[float, float, bool]
"""x, y and whether it is positive."""

Segment = Callable[[Path, Sequence[Click]], NDArray[np.bool_]]
"""The mask (H, W) bool of an image file and clicks."""

_SIGNS = {"1": True, "+": True, "true": True, "0": False, "-": False, "false": False, "": True}
_COLUMNS = ("image", "x", "y", "positive", "object", "label")


@dataclass(slots=True)
class ObjectClicks:
    """Clicks of one object.

    Attributes:
        label: its class.
        clicks: in order.
    """

    label: str
    clicks: list[Click] = field(default_factory=list)


Plan = dict[str, dict[int, ObjectClicks]]
"""By name of the image, then by number of the object."""


def read_clicks(path: Path, folder: Path) -> Plan:
    """Read a CSV file of clicks.

    Args:
        path: of the file.
        folder: where the images are.

    Raises:
        FormatError: names every line that cannot be used and every image that is not there.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(str(path), [f"byte {error.start}: not UTF-8 text"]) from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    faults = Faults(str(path))
    header = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = header
    missing = [name for name in _COLUMNS[:3] if name not in header]
    if missing:
        raise FormatError(str(path), [f"line 1: no column {', '.join(missing)}"])
    plan: Plan = {}
    try:
        for row in rows:
            _add(plan, {k: (v or "").strip() for k, v in row.items() if k in _COLUMNS},
                 f"line {rows.line_num}", faults)  # fmt: skip
    except csv.Error as error:
        faults.add(f"line {rows.line_num}", f"not CSV ({error})")
    for name in plan:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            faults.add(name, "is not below the folder")
        elif not (folder / name).is_file():
            faults.add(name, f"is not in {folder}")
    if not plan:
        faults.add("", "there are no clicks")
    faults.check()
    return plan


def _add(plan: Plan, row: dict[str, str], where: str, faults: Faults) -> None:
    try:
        x, y = float(row["x"]), float(row["y"])
    except ValueError:
        faults.add(where, f"x and y are {row['x']!r} and {row['y']!r}, not numbers")
        return
    sign = _SIGNS.get(row.get("positive", "").lower())
    number = row.get("object") or "1"
    if not row["image"]:
        faults.add(where, "has no image")
    elif not is_number(x) or not is_number(y):
        faults.add(where, f"({x:g}, {y:g}) is not a position in an image")
    elif sign is None:
        faults.add(where, f"positive is {row['positive']!r}, not 1 or 0")
    elif not number.isascii() or not number.isdecimal() or len(number) > 9:
        faults.add(where, f"object is {number!r}, not a whole number")
    else:
        objects = plan.setdefault(row["image"], {})
        item = objects.setdefault(int(number), ObjectClicks(row.get("label") or "object"))
        item.clicks.append((x, y, sign))


@dataclass(frozen=True, slots=True)
class Summary:
    """What was done.

    Attributes:
        images: that were segmented.
        objects: on them.
        clicks: that they took.
        failed: one line for each image that could not be used.
        notes: what the format could not hold.
        files: that were written.
    """

    images: int
    objects: int
    clicks: int
    failed: list[str]
    notes: list[str]
    files: list[Path]


def run(
    folder: Path,
    plan: Plan,
    segment: Segment,
    out: Path,
    *,
    format_name: str,
    tolerance: float = 0.0,
    overwrite: bool = False,
    progress: Callable[[Sequence[str]], Iterable[str]] = lambda names: names,
) -> Summary:
    """Segment all images of a plan and write their masks; all files or none.

    Args:
        folder: where the images are.
        plan: see `read_clicks`.
        segment: what makes a mask.
        out: folder for the files.
        format_name: one of `clickcut_formats.FORMATS`.
        tolerance: of polygons, pixels.
        overwrite: replace files that are there.
        progress: wraps the names of the images while they are gone through.

    Raises:
        FormatError: the files cannot be written, or every image failed.
    """
    encode(format_name, [], tolerance)  # a wrong name costs nothing now
    images: list[LabelledImage] = []
    failed: list[str] = []
    clicks = 0
    for name in progress(list(plan)):
        try:
            objects = [
                LabelledObject.of(item.label, segment(folder / name, item.clicks), number)
                for number, item in sorted(plan[name].items())
            ]
        except ClickcutError as error:
            failed.append(f"{name}: {error}")
            continue
        clicks += sum(len(item.clicks) for item in plan[name].values())
        images.append(
            LabelledImage(Path(name).as_posix(), objects[0].width, objects[0].height, objects)
        )
    if not images:
        raise FormatError("no image could be segmented", failed)
    encoded = encode(format_name, images, tolerance)
    files = write(encoded.files, out, overwrite)
    count = sum(len(image.objects) for image in images)
    return Summary(len(images), count, clicks, failed, encoded.notes, files)
