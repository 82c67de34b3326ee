"""What `clickcut segment --format` does: see `clickcut.commands.segment_formats`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from clickcut_formats.batch import Click, ObjectClicks, Plan, Segment, Summary, read_clicks, run
from clickcut_formats.errors import FormatError


def segment_in_format(
    path: Path,
    table: Path | None,
    clicks: Sequence[Click],
    segment: Segment,
    *,
    format_name: str,
    out: Path,
    tolerance: float,
    label: str,
    overwrite: bool,
) -> int:
    """Segment one image, or those of a folder, and write the masks.

    Args:
        path: of the image or folder.
        table: clicks of the folder's images, see `clickcut_formats.batch`.
        clicks: of the image.
        segment: what makes a mask.
        format_name: one of `clickcut_formats.FORMATS`.
        out: folder for the files.
        tolerance: of polygons, pixels.
        label: of the one object on the image.
        overwrite: replace files that are there.

    Returns:
        The exit code: 1 when images failed and others were written.

    Raises:
        FormatError: nothing could be written; names every offender.
    """
    if table is None:
        if not path.is_file():
            raise FormatError(str(path), ["there is no such file"])
        folder, plan = path.parent, {path.name: {1: ObjectClicks(label, list(clicks))}}
    else:
        folder, plan = path, read_clicks(table, path)
    summary = run(
        folder,
        plan,
        segment,
        out,
        format_name=format_name,
        tolerance=tolerance,
        overwrite=overwrite,
        progress=_with_bar,
    )
    _report(summary, plan, out)
    return 1 if summary.failed else 0


def _with_bar(names: Sequence[str]) -> Iterator[str]:
    console = Console(stderr=True)
    yield from track(names, "images", console=console, disable=not console.is_terminal)


def _report(summary: Summary, plan: Plan, out: Path) -> None:
    for note in summary.notes:
        print(f"note: {note}")
    for line in summary.failed:
        print(f"failed: {line}", file=sys.stderr)
    print(
        f"{summary.images} image{'s' * (summary.images != 1)}, {summary.objects} "
        f"object{'s' * (summary.objects != 1)}, {summary.clicks} click"
        f"{'s' * (summary.clicks != 1)} -> {len(summary.files)} "
        f"file{'s' * (len(summary.files) != 1)} in {out}"
    )
    if summary.failed:
        print(f"{len(summary.failed)} of {len(plan)} images failed", file=sys.stderr)
