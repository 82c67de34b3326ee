"""Turn sessions that a server recorded (`clickcut serve --record`) into a training data set.

The result is a data set of the kind `folder`: a photo once, with a mask for each object that
somebody selected on it. Records hold what `clickcut.server.recorder` says.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clickcut.encoding import from_png, to_png
from clickcut.errors import ClickcutError
from clickcut.images import decode
from clickcut_eval.datasets.entry import read_bytes
from clickcut_eval.datasets.listing import visible
from clickcut_train.errors import DataError

NO_MASK = "no final mask"
DUPLICATE = "the same mask on the same photo"
DAMAGED = "damaged"

_FORMAT = 1
_MAX_SHOWN = 5
"""Records that are named for each reason."""


@dataclass
class Report:
    """What became of the records.

    Attributes:
        sessions: records read.
        used: those of which at least one object is in the data set.
        photos: of the data set.
        objects: of the data set.
        dropped: records (or `NAME object K`) by why they were left out.
    """

    sessions: int = 0
    used: int = 0
    photos: int = 0
    objects: int = 0
    dropped: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, reason: str, name: str) -> None:
        """Note what was left out."""
        self.dropped.setdefault(reason, []).append(name)

    def __str__(self) -> str:
        lines = [
            f"{self.sessions} sessions: {self.used} used, {self.photos} photos, "
            f"{self.objects} objects"
        ]
        for reason, names in sorted(self.dropped.items()):
            more = f", and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
            lines.append(f"left out, {reason}: {', '.join(names[:_MAX_SHOWN])}{more}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Selected:
    """An object of a record.

    Attributes:
        index: of the object in its session.
        clicks: in force at the end.
        mask: a PNG file.
    """

    index: int
    clicks: int
    mask: bytes


@dataclass(frozen=True)
class _Recorded:
    """A record that can be used.

    Attributes:
        name: of its files.
        image: the file.
        pixels: hash of the decoded image.
        model: NAME@VERSION that helped to select.
        objects: with a mask.
    """

    name: str
    image: bytes
    pixels: str
    model: str
    objects: tuple[_Selected, ...]


def from_sessions(
    folder: Path,
    out: Path,
    min_clicks: int = 1,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write a data set of recorded sessions.

    Args:
        folder: of the records.
        out: the data set; must not exist, and appears when it is complete.
        min_clicks: objects with fewer clicks and strokes are left out.
        show: called with records done and in all.

    Raises:
        DataError: no records, nothing left, or the data set cannot be written.
    """
    if out.exists():
        raise DataError(f"{out}: exists already; name a new folder")
    if not (folder / "images").is_dir() or not (folder / "events").is_dir():
        raise DataError(f"{folder}: no records of clickcut serve --record: no images and events")
    images = visible(folder / "images", (".png",))
    partial = out.with_name(f".{out.name}.partial")
    report = Report()
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for name in ("images", "masks"):
            (partial / name).mkdir(parents=True)
        with (partial / "sessions.jsonl").open("x", encoding="utf-8") as lines:
            writer = _Writer(partial, min_clicks, report)
            for done, image in enumerate(images, 1):
                for line in writer.add(folder, image):
                    lines.write(f"{json.dumps(line)}\n")
                show(done, len(images))
        if not report.objects:
            raise DataError(f"{folder}: nothing to train on\n{report}")
        (partial / "report.json").write_text(json.dumps(vars(report), indent=1) + "\n")
        partial.rename(out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


class _Writer:
    """Adds records to a data set: each photo once, each mask of it once."""

    def __init__(self, out: Path, min_clicks: int, report: Report) -> None:
        self._out = out
        self._min_clicks = min_clicks
        self._report = report
        self._masks: dict[str, set[str]] = {}
        """Hash of a photo's pixels -> those of its masks."""

    def add(self, folder: Path, image: Path) -> Iterator[dict[str, Any]]:
        """Add one record; yield a line about each object."""
        self._report.sessions += 1
        try:
            record = _read(folder, image)
        except (ClickcutError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            self._report.drop(DAMAGED, f"{image.stem} ({str(error)[:100]})")
            return
        if not record.objects:
            self._report.drop(NO_MASK, record.name)
        before = self._report.objects
        for selected in record.objects:
            if self._add_object(record, selected):
                yield {
                    "photo": _photo(record),
                    "record": record.name,
                    "object": selected.index,
                    "clicks": selected.clicks,
                    "model": record.model,
                }
        self._report.used += self._report.objects > before

    def _add_object(self, record: _Recorded, selected: _Selected) -> bool:
        name = f"{record.name} object {selected.index}"
        if selected.clicks < self._min_clicks:
            self._report.drop(f"fewer than {self._min_clicks} clicks", name)
            return False
        known = self._masks.setdefault(record.pixels, set())
        digest = hashlib.sha256(selected.mask).hexdigest()
        if digest in known:
            self._report.drop(DUPLICATE, name)
            return False
        if not known:
            (self._out / "images" / f"{_photo(record)}.png").write_bytes(record.image)
            self._report.photos += 1
        path = self._out / "masks" / f"{_photo(record)}_{len(known):03}.png"
        path.write_bytes(selected.mask)
        known.add(digest)
        self._report.objects += 1
        return True


def _photo(record: _Recorded) -> str:
    return record.pixels[:24]


def _read(folder: Path, image: Path) -> _Recorded:
    """Read a record.

    Raises:
        ClickcutError, OSError, ValueError, KeyError, TypeError: it is damaged.
    """
    name = image.stem
    first = read_bytes(folder / "events" / f"{name}.jsonl").partition(b"\n")[0]
    about = json.loads(first)
    if about["format"] != _FORMAT:
        raise DataError(f"records of format {about['format']!r} are not known here")
    data = read_bytes(image)
    pixels = decode(data)
    height, width = pixels.shape[:2]
    if (height, width) != (about["height"], about["width"]):
        raise DataError("its image has another size than the session had")
    digest = hashlib.sha256(f"{height} {width} ".encode() + pixels.tobytes()).hexdigest()
    return _Recorded(name, data, digest, str(about["model"]), tuple(_selected(folder, name, about)))


def _selected(folder: Path, name: str, about: dict[str, Any]) -> Iterator[_Selected]:
    for found in about["objects"]:
        index, clicks = int(found["object"]), int(found["clicks"])
        path = folder / "masks" / f"{name}_{index}.png"
        if not path.is_file():
            continue
        mask = from_png(read_bytes(path), int(about["height"]), int(about["width"]))
        if mask.any():
            yield _Selected(index, clicks, to_png(mask))  # the same bytes for the same mask
