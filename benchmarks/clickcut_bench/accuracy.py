"""`clickcut bench accuracy`: mean clicks per object through the engine (protocol `deepest`)."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickcut.images import prepare_pixels
from clickcut.parameters import Parameters
from clickcut.predictor import Predictor, load_predictor
from clickcut.session import ClickSession
from clickcut_bench.clicker import Clicker
from clickcut_bench.datasets import DATASETS, Target

MAX_CLICKS = 20


@dataclass(frozen=True)
class Curve:
    """How one object went.

    Attributes:
        name: of the object.
        ious: IoU after 1, 2, ... clicks; ends at the highest target or after `MAX_CLICKS`.
        clicks: (x, y, positive) of each click.
        seconds: time in the engine, all clicks together.
    """

    name: str
    ious: list[float]
    clicks: list[tuple[int, int, bool]]
    seconds: float

    def clicks_to(self, target: float) -> int:
        """Clicks until IoU `target`; `MAX_CLICKS` if never."""
        reached = (k for k, iou in enumerate(self.ious, 1) if iou >= target)
        return next(reached, MAX_CLICKS)


def measure(
    target: Target, predictor: Predictor, parameters: Parameters, solver: str, stop_at: float
) -> Curve:
    """Let the simulated user select one object.

    Args:
        target: the object.
        predictor: the model.
        parameters: of the session.
        solver: of the cut.
        stop_at: IoU at which the user is content.
    """
    session = ClickSession(prepare_pixels(target.pixels()), predictor, parameters, solver)
    clicker = Clicker(target.mask, target.ignore)
    ious: list[float] = []
    clicks: list[tuple[int, int, bool]] = []
    spent = 0.0
    while len(clicks) < MAX_CLICKS and (click := clicker.next_click(session.mask)) is not None:
        began = time.perf_counter()
        session.click(*click)
        spent += time.perf_counter() - began
        clicks.append(click)
        ious.append(clicker.iou(session.mask))
        if ious[-1] >= stop_at:
            break
    return Curve(target.name, ious, clicks, spent)


def measure_all(
    targets: Iterable[Target],
    predictor: Predictor,
    parameters: Parameters,
    solver: str = "grid",
    stop_at: float = 0.9,
    workers: int | None = None,
) -> Iterator[Curve]:
    """`measure` for every target with at least one object pixel, on all cores, in order."""
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = (
            pool.submit(measure, t, predictor, parameters, solver, stop_at)
            for t in targets
            if t.mask.any()
        )
        waiting = list(itertools.islice(jobs, 8))
        while waiting:
            yield waiting.pop(0).result()
            waiting.extend(itertools.islice(jobs, 1))


def confidence(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over objects."""
    rng = np.random.default_rng(0)
    picks = rng.integers(len(values), size=(draws, len(values)))
    low, high = np.percentile(np.asarray(values)[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def summary(curves: list[Curve], target: float) -> dict[str, Any]:
    """Mean clicks to `target` with its interval, failures, IoU after 1, 2, 3 and 5 clicks."""
    clicks = [float(c.clicks_to(target)) for c in curves]
    padded = np.array([c.ious + [c.ious[-1]] * (MAX_CLICKS - len(c.ious)) for c in curves])
    total = sum(len(c.clicks) for c in curves)
    return {
        "objects": len(curves),
        "target_iou": target,
        "mean_clicks": float(np.mean(clicks)),
        "interval": list(confidence(clicks)),
        "never_reached": sum(max(c.ious) < target for c in curves),
        "iou_after": [float(padded[:, k - 1].mean()) for k in (1, 2, 3, 5)],
        "seconds_per_click": sum(c.seconds for c in curves) / total,
    }


def run(
    data: Path,
    model: Path,
    names: list[str],
    output: Path | None = None,
    changes: dict[str, float | bool] | None = None,
    solver: str = "grid",
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a bundle on data sets under `data`; prints a table, writes JSON when asked.

    Args:
        data: folder that holds a folder for each data set.
        model: a bundle.
        names: data sets, keys of `DATASETS`.
        output: JSON file with summary and every object's curve.
        changes: session parameters that differ from the bundle's.
        solver: of the cut.
        limit: only this many objects of each data set.
    """
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    predictor = load_predictor(model)
    parameters = predictor.metadata.parameters.changed(**(changes or {}))
    console = Console()
    results, curves_of = {}, {}
    for name in names:
        reader, target = DATASETS[name]
        targets = list(itertools.islice(reader(data / name), limit))
        stream = measure_all(targets, predictor, parameters, solver, max(target, 0.9))
        curves = list(track(stream, name, total=len(targets), console=console, transient=True))
        results[name] = summary(curves, target)
        curves_of[name] = [asdict(c) for c in curves]
    table = Table(
        "data set", "objects", "clicks", "95 %", "never", "IoU after 1, 2, 3, 5", "s/click"
    )
    for name, r in results.items():
        low, high = r["interval"]
        table.add_row(
            f"{name} @{100 * r['target_iou']:.0f}",
            str(r["objects"]),
            f"{r['mean_clicks']:.2f}",
            f"{low:.2f}-{high:.2f}",
            str(r["never_reached"]),
            " ".join(f"{100 * v:.1f}" for v in r["iou_after"]),
            f"{r['seconds_per_click']:.3f}",
        )
    console.print(table)
    if output:
        document = {
            "protocol": "deepest",
            "model": predictor.metadata.name,
            "model_version": predictor.metadata.version,
            "bundle_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
            "parameters": asdict(parameters),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "results": results,
            "objects": curves_of,
        }
        output.write_text(json.dumps(document, indent=1))
    return results
