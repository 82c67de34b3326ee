"""`clickcut segment --format`: masks of one image, or of a folder, in an annotation format.

Another package writes the formats; it is found by the entry-point group `clickcut.segment`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from clickcut.commands.prompt_options import Click
from clickcut.commands.segmenter import Segment
from clickcut.errors import BackendError, EventError

GROUP = "clickcut.segment"
"""Entry-point group with one entry, `formats`: the function that `run` calls."""


def run(
    path: Path, table: Path | None, clicks: Sequence[Click], segment: Segment, **options: Any
) -> int:
    """Segment an image with `clicks`, or the images of a folder with the clicks of a table.

    Args:
        path: of the image or folder.
        table: CSV file of clicks.
        clicks: of the image.
        segment: computes a mask.
        options: passed on: `format_name`, `out`, `tolerance`, `label`, `overwrite`.

    Returns:
        The exit code.

    Raises:
        EventError: a folder without a table, or the other way round.
        BackendError: nothing that writes formats is installed.
    """
    if path.is_dir() != (table is not None):
        raise EventError("a folder of images needs --clicks FILE.csv, and only a folder does")
    if options["out"] is None:
        raise EventError("say where to write: --out FOLDER")
    point = next(iter(entry_points(group=GROUP, name="formats")), None)
    if point is None:
        raise BackendError("no package that writes formats is installed; reinstall clickcut")
    write: Callable[..., int] = point.load()
    return write(path, table, clicks, segment, **options)
