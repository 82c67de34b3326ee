"""What a run leaves behind for people: progress on the screen, a CSV, TensorBoard."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from clickcut.overlay import contact_sheet, draw_overlay
from clickcut_train.samples import Sample

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

COLUMNS = ("seen", "loss", "lr", "samples_per_second", "clicks", "validation_clicks")
_OLD_COLUMNS = {"rate": "lr"}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


class MetricsFile:
    """`log.csv`: a line every few steps and for each validation.

    Args:
        path: the file.
        seen: samples at which the run goes on; later lines of a run that was killed are dropped.

    Attributes:
        set_aside: where a file of that name was moved that is not such a log; else None.
    """

    def __init__(self, path: Path, seen: int) -> None:
        self._path = path
        self.set_aside: Path | None = None
        rows = _read_rows(path) if path.exists() else []
        if rows is None:
            self.set_aside = path.with_name(f"{path.name}.unreadable")
            path.replace(self.set_aside)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(r for r in rows or [] if int(r["seen"]) <= seen)

    def add(self, **values: float) -> None:
        """Append a line."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(values)


def _read_rows(path: Path) -> list[dict[str, str]] | None:
    """The complete lines of a log; None when the file is something else."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if "seen" not in (reader.fieldnames or ()):
                return None
            rows = [{_OLD_COLUMNS.get(k, k): v for k, v in row.items()} for row in reader]
    except (UnicodeDecodeError, csv.Error):
        return None
    return [row for row in rows if (row["seen"] or "").isdecimal()]


def _tensorboard(folder: Path, seen: int, say: Any) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("no TensorBoard log: pip install tensorboard (or --set output.tensorboard=false)")
        return None
    return SummaryWriter(str(folder), purge_step=seen)


def training_pictures(
    samples: Sequence[Sample], probabilities: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Crops with their clicks and two outlines: the object's, and what the network selects.

    Args:
        samples: what was learned from.
        probabilities: (N, S, S) float32, the network's answers.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    cells = []
    for sample, probability in zip(samples, probabilities, strict=True):
        clicks = [(x, y, True) for x, y in sample.positive]
        clicks += [(x, y, False) for x, y in sample.negative]
        cells.append(("object", draw_overlay(sample.image, sample.target, clicks)))
        cells.append(("selected", draw_overlay(sample.image, probability > 0.5, clicks)))
    return contact_sheet(cells, columns=4, width=240)


class Logbook:
    """Screen, CSV and TensorBoard of the leading process.

    Args:
        folder: of the run.
        total: samples of the whole run.
        seen: samples at which it begins or goes on.
        tensorboard: whether to write for TensorBoard.
    """

    def __init__(self, folder: Path, total: int, seen: int, tensorboard: bool) -> None:
        self._total, self._since, self._began = total, seen, time.monotonic()
        self._paused = 0.0
        self._console = Console(file=sys.stdout)
        self._metrics = MetricsFile(folder / "log.csv", seen)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} samples"),
                BarColumn(),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=total, completed=seen, state="")
            self._bar.start()
        if moved := self._metrics.set_aside:
            self.say(f"{folder / 'log.csv'} was not the log of a run: moved to {moved.name}")
        self._board = _tensorboard(folder / "tensorboard", seen, self.say) if tensorboard else None

    def say(self, text: str) -> None:
        """A line for people."""
        (self._bar.console if self._bar else self._console).print(
            text, highlight=False, markup=False, soft_wrap=True
        )

    def pause(self, seconds: float) -> None:
        """Time that was not spent on learning."""
        self._paused += seconds

    def steps(self, seen: int, loss: float, lr: float, clicks: float) -> None:
        """The mean of the last steps."""
        spent = max(time.monotonic() - self._began - self._paused, 1e-6)
        speed = max((seen - self._since) / spent, 1e-6)
        left = _duration((self._total - seen) / speed)
        self._metrics.add(
            seen=seen,
            loss=round(loss, 5),
            lr=float(f"{lr:.4g}"),
            samples_per_second=round(speed, 2),
            clicks=round(clicks, 2),
        )
        for name, value in (("loss", loss), ("lr", lr), ("clicks", clicks), ("speed", speed)):
            if self._board:
                self._board.add_scalar(f"train/{name}", value, seen)
        state = f"loss {loss:.4f}  {speed:.1f} samples/s  {left} left"
        if self._bar:
            self._bar.update(self._task, completed=seen, state=state)
        else:
            self.say(f"{seen:>8}/{self._total}  {state}  {clicks:.1f} clicks a session")

    def validation(self, seen: int, clicks: float, note: str) -> None:
        """A validation's mean clicks."""
        self._metrics.add(seen=seen, validation_clicks=round(clicks, 4))
        if self._board:
            self._board.add_scalar("validation/clicks", clicks, seen)
        self.say(f"{seen:>8}/{self._total}  validation: {clicks:.2f} clicks per object{note}")

    def pictures(
        self, seen: int, samples: Sequence[Sample], probabilities: NDArray[np.float32]
    ) -> None:
        """A few samples of this step, for TensorBoard."""
        if self._board:
            picture = training_pictures(samples, probabilities)
            self._board.add_image("train/samples", picture, seen, dataformats="HWC")

    def close(self) -> None:
        """Close the files and leave the terminal as it was."""
        if self._bar:
            self._bar.stop()
        if self._board:
            self._board.close()
