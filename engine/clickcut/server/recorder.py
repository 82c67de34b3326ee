"""Keep finished sessions on disk, for training: `clickcut serve --record FOLDER`.

    FOLDER/images/NAME.png       what the client selected on, as displayed
    FOLDER/masks/NAME_0.png      the final mask of object 0, 255 on the object; NAME_1.png, ...
    FOLDER/events/NAME.jsonl     a line about the session, then one for each event in force

It is the layout that training reads as `folder:FOLDER`. NAME is the time and a random number; a
record holds no address, no token and no session id. The image comes last: masks and events without
an image are what a power failure left.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clickcut.bundle import BundleMetadata
from clickcut.encoding import to_png
from clickcut.errors import ClickcutError
from clickcut.images import PreparedImage
from clickcut.selection import SelectedObject
from clickcut.session import SessionView
from clickcut.session.event_lines import described
from clickcut.session.events import Event
from clickcut.whole_file import whole_file

FORMAT = 1
"""Version of the files."""

FOLDERS = ("masks", "events", "images")

_MAX_PENDING = 8
"""Sessions that wait for the disk; more are not recorded."""
_MAX_PENDING_PIXELS = 64_000_000
"""... and pixels of their images; a single one may have more."""
_MIN_FREE_BYTES, _MIN_FREE = 2**30, 0.05
"""What stays free on the disk: the larger one of these bytes and this share of it."""
_QUIET_SECONDS = 60.0
"""Between two warnings that sessions are not recorded."""

_log = logging.getLogger(__name__)

Count = Callable[[str], None]


class RecordError(ClickcutError):
    """Sessions cannot be recorded in this folder."""


@dataclass(frozen=True, slots=True)
class Record:
    """A finished session; none of it changes any more.

    Attributes:
        image: that it was on.
        model: that it had.
        objects: with their final masks.
        events: in force for each object.
    """

    image: PreparedImage
    model: BundleMetadata
    objects: tuple[SelectedObject, ...]
    events: tuple[tuple[Event, ...], ...]

    @staticmethod
    def of(session: SessionView, model: BundleMetadata) -> Record | None:
        """Return the record of a session; None if nothing is selected."""
        objects = tuple(session.objects())
        if not any(found.selection.area for found in objects):
            return None
        events = tuple(tuple(session.events_of(found.index)) for found in objects)
        return Record(session.image, model, objects, events)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of its file of events."""
        image, model = self.image, self.model
        window = image.window
        yield {
            "format": FORMAT,
            "image_sha256": image.digest,
            "width": image.width,
            "height": image.height,
            "window": [window.low, window.high] if window else None,
            "model": f"{model.name}@{model.version}",
            "checkpoint": model.checkpoint_sha256,
            "objects": [
                {"object": found.index, "clicks": found.num_clicks, "area": found.selection.area}
                for found in self.objects
            ],
        }
        for found, events in zip(self.objects, self.events, strict=True):
            for event in events:
                yield {"object": found.index, **described(event, image.height, image.width)}


class Recorder:
    """Writes records in a thread. Never holds up a request: what it cannot write, it drops.

    Args:
        folder: created if needed; readable by its owner only.
        max_bytes: of all files in it together.
        count: called with the outcome of each record: "written", "full", "disk", "busy", "failed".

    Raises:
        RecordError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, max_bytes: int, count: Count = lambda outcome: None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._count = count
        self._warned = -_QUIET_SECONDS
        self._lock = threading.Lock()
        self._pending_pixels = 0
        self._pending: queue.Queue[Record | None] = queue.Queue(_MAX_PENDING + 1)
        try:
            for name in FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            with whole_file(folder / f".writable-{os.getpid()}", unique=True) as file:
                file.write(b"")
            (folder / f".writable-{os.getpid()}").unlink()
            self._used = sum(f.stat().st_size for n in FOLDERS for f in (folder / n).iterdir())
        except OSError as error:
            raise RecordError(
                f"{folder} (--record): sessions cannot be recorded here ({error.strerror}); name a "
                "folder that can be written to"
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="clickcut-record", daemon=True)
        self._thread.start()

    def record(self, session: SessionView, model: BundleMetadata) -> None:
        """Have a session written that no thread touches any more."""
        record = Record.of(session, model)
        if record is None:
            return
        pixels = record.image.width * record.image.height
        with self._lock:
            waits = self._pending_pixels > 0
            if self._pending.qsize() >= _MAX_PENDING or (
                waits and self._pending_pixels + pixels > _MAX_PENDING_PIXELS
            ):
                self._drop("busy", "sessions end faster than the disk takes them")
                return
            self._pending_pixels += pixels
            self._pending.put_nowait(record)

    def close(
        self, seconds: float, rest: Iterable[tuple[SessionView, BundleMetadata]] = ()
    ) -> None:
        """Write what waits, and the sessions that end now, for at most about so many seconds."""
        end = time.monotonic() + seconds
        self._pending.put(None)
        self._thread.join(seconds)
        for session, model in rest:
            record = Record.of(session, model)
            if record is not None and (self._thread.is_alive() or time.monotonic() > end):
                self._drop("busy", "the server stops, and the disk is slow")
            elif record is not None:
                self._write_or_drop(record)

    # ---- in the thread

    def _write_all(self) -> None:
        while (record := self._pending.get()) is not None:
            self._write_or_drop(record)
            with self._lock:
                self._pending_pixels -= record.image.width * record.image.height
            del record  # while it waits for the next one, the image must not stay

    def _write_or_drop(self, record: Record) -> None:
        try:
            self._write(record)
        except Exception as error:  # a record that fails must not end the thread
            self._drop("failed", f"{type(error).__name__}: {error}")

    def _write(self, record: Record) -> None:
        files = dict(self._files(record))
        size = sum(map(len, files.values()))
        if self._used + size > self._max_bytes:
            self._drop("full", f"{self._folder} has its --record-mib; move records away")
            return
        disk = shutil.disk_usage(self._folder)
        if disk.free - size < max(_MIN_FREE_BYTES, _MIN_FREE * disk.total):
            self._drop("disk", f"the disk of {self._folder} is nearly full")
            return
        written: list[Path] = []
        try:
            for path, data in files.items():
                with whole_file(path, unique=True) as file:
                    file.write(data)
                written.append(path)
        except OSError as error:
            for path in written:
                path.unlink(missing_ok=True)
            self._drop("failed", f"{self._folder}: {error.strerror}")
            return
        self._used += size
        self._count("written")

    def _files(self, record: Record) -> Iterator[tuple[Path, bytes]]:
        """Yield the files of a record, the image last."""
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(8)}"
        image = record.image
        for found in record.objects:
            if found.selection.box is not None:
                mask = np.zeros((image.height, image.width), np.bool_)
                mask[found.selection.box.slices] = found.selection.cropped()
                yield self._folder / "masks" / f"{stamp}_{found.index}.png", to_png(mask)
        text = "".join(f"{json.dumps(line)}\n" for line in record.lines())
        yield self._folder / "events" / f"{stamp}.jsonl", text.encode()
        _, encoded = cv2.imencode(".png", cv2.cvtColor(image.pixels, cv2.COLOR_RGB2BGR))
        yield self._folder / "images" / f"{stamp}.png", encoded.tobytes()

    def _drop(self, outcome: str, why: str) -> None:
        self._count(outcome)
        if time.monotonic() - self._warned >= _QUIET_SECONDS:
            self._warned = time.monotonic()
            _log.warning("a session is not recorded: %s", why)
