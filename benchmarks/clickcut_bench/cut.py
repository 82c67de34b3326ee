"""`clickcut bench cut`: our graph cut and PyMaxflow on click sequences recorded with a model.

Each photograph is brought to each size and clicked by the simulated user in a real session; what
the network gave for each click is kept. The recorded clicks are then cut again by both solvers,
warm (going on from the click before) and cold, at three smoothness levels, all in one process on
one thread. Masks and energies of the solvers must be the same, which is checked for every click.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import BundleMetadata, bundled_models
from clickcut.cut import Cut, EdgeWeights, warm_up
from clickcut.cut.problem import energy_of, make_samples, unaries
from clickcut.demo import packaged_photograph
from clickcut.events import points_in_force
from clickcut.images import prepare_pixels
from clickcut.predictor import Predictor, load_predictor
from clickcut.region import Region
from clickcut.session import ClickSession
from clickcut_bench.machine import describe
from clickcut_eval.clicker import Clicker
from clickcut_eval.datasets import open_dataset

SIZES = {"0.2 MP": 500 * 375, "0.75 MP": 1000 * 750, "2.2 MP": 1500 * 1500, "12 MP": 4000 * 3000}
"""Pixels of the photograph."""

MOST_PIXELS = 2_300_000
"""Larger regions are left out. All are cut at full resolution here, whatever a session does."""

SMOOTHNESS = {"weak": 1.0, "medium": 0.3, "strong": 0.1}
"""Lambda, as a multiple of the model's."""

WAYS = ("ours warm", "ours cold", "PyMaxflow warm", "PyMaxflow cold")

Photograph = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]
"""(H, W, 3) uint8 RGB; the object on it and the pixels to ignore, (H, W) bool."""


@dataclass(frozen=True)
class Click:
    """What a click gives to the cut; see `clickcut.cut.Cut.solve`."""

    logits: NDArray[np.float32]
    region: Region
    seeds: NDArray[np.int32]


@dataclass(frozen=True)
class Recording:
    """The clicks of one session."""

    pixels: NDArray[np.uint8]
    clicks: list[Click]
    cut_lambda: float
    seed_radius: float


class _Tap:
    """A predictor that keeps the last logits."""

    def __init__(self, inner: Predictor) -> None:
        self.metadata: BundleMetadata = inner.metadata
        self.backend = inner.backend
        self.logits = np.empty((0, 0), np.float32)
        self._inner = inner

    def warm_up(self) -> None:
        self._inner.warm_up()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        out = self._inner.predict(batch)
        self.logits = out[0].copy()
        return out


def record(photograph: Photograph, predictor: Predictor, count: int) -> Recording:
    """Play a session of `count` clicks at the deepest error."""
    pixels, mask, ignore = photograph
    tap = _Tap(predictor)
    session = ClickSession(prepare_pixels(pixels), tap)
    clicker, clicks = Clicker(mask, ignore), []
    for _ in range(count):
        wanted = clicker.next_click(session.mask)
        if wanted is None:
            break
        session.click(*wanted)
        shown = session.probability
        if shown is not None:
            points = points_in_force(session.events).items()
            seeds = np.array([(x, y, 1 if sign else -1) for (x, y), sign in points], np.int32)
            clicks.append(Click(tap.logits, shown[0], seeds))
    parameters = session.parameters
    return Recording(pixels, clicks, parameters.cut_lambda, parameters.seed_radius)


def photographs(folder: Path | None, limit: int) -> Iterator[Photograph]:
    """Photographs of a folder in GrabCut's layout, or the packaged one."""
    if folder is None:
        pixels, mask = packaged_photograph()
        yield pixels, mask, np.zeros_like(mask)
        return
    _, targets = open_dataset("grabcut", folder)
    for target in targets[:: max(1, len(targets) // limit)][:limit]:
        truth = target.truth()
        yield target.pixels(), truth.mask, truth.ignore


def scaled(photograph: Photograph, pixels: int) -> Photograph:
    """The photograph with about this many pixels, in its own proportions."""
    image, mask, ignore = photograph
    factor = math.sqrt(pixels / mask.size)
    size = round(mask.shape[1] * factor), round(mask.shape[0] * factor)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = [
        cv2.resize(part.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for part in (mask, ignore)
    ]
    return cv2.resize(image, size, interpolation=how).astype(np.uint8), small[0], small[1]


def measure(recording: Recording, multiple: float, every: int) -> Iterator[dict[str, Any]]:
    """Cut the clicks of a recording; one row for each: milliseconds by way, pixels, agreement.

    The first click is cold for both; the edge weights, which belong to the image, are there before.

    Args:
        recording: what to cut.
        multiple: of the model's lambda.
        every: PyMaxflow solves each n-th click cold as well.
    """
    edges = EdgeWeights(recording.pixels)
    warm = {"ours": Cut(edges), "PyMaxflow": Cut(edges, "pymaxflow")}
    cut_lambda = recording.cut_lambda * multiple
    clicks = [c for c in recording.clicks if c.region.area <= MOST_PIXELS]
    for number, click in enumerate(clicks):
        arguments = click.logits, click.region, click.seeds, cut_lambda, recording.seed_radius
        edges.dense(click.region)
        masks: list[NDArray[np.bool_]] = []
        row: dict[str, Any] = {"pixels": click.region.area, "click": number + 1}
        for name, solver in (("ours", "grid"), ("PyMaxflow", "pymaxflow")):
            spent, mask = _timed(warm[name], arguments)
            masks.append(mask)
            row[f"{name} {'warm' if number else 'cold'}"] = spent
            if number and (name == "ours" or number % every == 0):
                row[f"{name} cold"], mask = _timed(Cut(edges, solver), arguments)
                masks.append(mask)
        yield row | _agreement(edges, arguments, masks)


def _timed(cut: Cut, arguments: tuple[Any, ...]) -> tuple[float, NDArray[np.bool_]]:
    began = time.perf_counter()
    mask = cut.solve(*arguments)
    return 1e3 * (time.perf_counter() - began), mask


def _agreement(
    edges: EdgeWeights, arguments: tuple[Any, ...], masks: Sequence[NDArray[np.bool_]]
) -> dict[str, Any]:
    logits, region, seeds, cut_lambda, seed_radius = arguments
    samples = make_samples(logits, region.width, region.height, cut_lambda)
    if samples is None:
        raise ValueError("the model gave logits that are not finite")
    unary, weights = unaries(samples, region, seeds, seed_radius), edges.dense(region)
    energies = {energy_of(unary, weights, mask) for mask in masks}
    same = all((mask == masks[0]).all() for mask in masks)
    return {"energies_equal": len(energies) == 1, "masks_equal": same}


def two_threads(recordings: Sequence[Recording], seconds: float) -> dict[str, float]:
    """Warm cuts per second of one session alone, and of two sessions on two threads."""

    def work(first: int) -> int:
        recording = recordings[first % len(recordings)]
        cut, done = Cut(EdgeWeights(recording.pixels)), 0
        clicks = [c for c in recording.clicks if c.region.area <= MOST_PIXELS]
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            click = clicks[done % len(clicks)]
            cut.solve(
                click.logits, click.region, click.seeds, recording.cut_lambda, recording.seed_radius
            )
            done += 1
        return done

    alone = (work(0) + work(1)) / (2 * seconds)
    with ThreadPoolExecutor(2) as pool:
        together = sum(pool.map(work, (0, 1))) / seconds
    return {"one": alone, "two": together, "ratio": together / alone}


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians and 99th percentiles for each size and smoothness."""
    out = []
    for size in dict.fromkeys(row["size"] for row in rows):
        for level in SMOOTHNESS:
            chosen = [r for r in rows if (r["size"], r["smoothness"]) == (size, level)]
            line: dict[str, Any] = {
                "size": size,
                "smoothness": level,
                "clicks": len(chosen),
                "pixels": float(np.median([r["pixels"] for r in chosen])),
            }
            for way in WAYS:
                times = [r[way] for r in chosen if way in r]
                if times:
                    line[way] = {
                        "median": float(np.median(times)),
                        "p99": float(np.percentile(times, 99)),
                    }
            for check in ("energies_equal", "masks_equal"):
                line[check] = all(r[check] for r in chosen)
            out.append(line)
    return out


def exponents(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The b of milliseconds = a pixels^b, for each smoothness and way."""
    out: dict[str, dict[str, float]] = {}
    for level in SMOOTHNESS:
        out[level] = {}
        for way in WAYS:
            points = [(r["pixels"], r[way]) for r in rows if r["smoothness"] == level and way in r]
            if len({p for p, _ in points}) > 2:
                x, y = np.log(np.array(points)).T
                out[level][way] = float(np.polyfit(x, y, 1)[0])
    return out


def show(document: dict[str, Any]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine, threads = document["machine"], document["threads"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; model {document['model']}")
    table = Table("photo", "smooth", "region MP", *WAYS, "ratio", "same")
    table.title = (
        "Milliseconds of a cut, median (99th percentile); ratio of the medians, warm and cold"
    )
    for line in document["summary"]:
        cells = [
            f"{line[w]['median']:.1f} ({line[w]['p99']:.0f})" if w in line else "-" for w in WAYS
        ]
        ratios = [
            f"{line[f'PyMaxflow {heat}']['median'] / line[f'ours {heat}']['median']:.1f}"
            for heat in ("warm", "cold")
            if f"PyMaxflow {heat}" in line and f"ours {heat}" in line
        ]
        same = "yes" if line["energies_equal"] and line["masks_equal"] else "NO"
        region = f"{line['pixels'] / 1e6:.2f}"
        table.add_row(line["size"], line["smoothness"], region, *cells, " ".join(ratios), same)
    console.print(table)
    growth = Table("smoothness", *WAYS, title="Exponent b of time = a pixels^b")
    for level, ways in document["exponents"].items():
        growth.add_row(level, *(f"{ways[w]:.2f}" if w in ways else "-" for w in WAYS))
    console.print(growth)
    console.print(
        f"cuts per second: one thread {threads['one']:.0f}, two threads {threads['two']:.0f}, "
        f"ratio {threads['ratio']:.2f}"
    )


def plot(document: dict[str, Any], path: Path) -> None:
    """Time against pixels, a panel per smoothness."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True, layout="constrained")
    for panel, level in zip(panels, SMOOTHNESS, strict=True):
        for way, marker in zip(WAYS, "o.s+", strict=True):
            points = [
                (r["pixels"] / 1e6, r[way])
                for r in document["rows"]
                if r["smoothness"] == level and way in r
            ]
            if points:
                panel.plot(*zip(*points, strict=True), marker, label=way, alpha=0.6)
        panel.set(xscale="log", yscale="log", xlabel="pixels of the region, millions", title=level)
        ticks = (0.1, 0.2, 0.5, 1, 2)
        panel.set_xticks(ticks, [f"{t:g}" for t in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("milliseconds")
    panels[0].legend()
    figure.suptitle(f"Graph cut of a click, one thread, {document['machine']['cpu']}")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run(
    quick: bool,
    json_path: Path | None,
    plot_path: Path | None,
    images: Path | None,
    bundle: Path | None = None,
) -> dict[str, Any]:
    """Record, measure, print, and write the numbers and the plot where asked.

    Args:
        quick: one photograph and four clicks instead of eight photographs and six clicks.
        json_path: for the numbers.
        plot_path: for the plot, a PNG.
        images: folder in GrabCut's layout; the packaged photograph when None.
        bundle: a model; the packaged default when None.
    """
    warm_up()
    warm_up("pymaxflow")
    predictor = load_predictor(bundle or bundled_models()["default"])
    rows: list[dict[str, Any]] = []
    smallest: list[Recording] = []
    for photograph in photographs(images, 1 if quick else 8):
        for size, pixels in list(SIZES.items())[: 3 if quick else None]:
            recording = record(scaled(photograph, pixels), predictor, 4 if quick else 6)
            if size == next(iter(SIZES)):
                smallest.append(recording)
            rows.extend(_rows(recording, size, every=4 if quick else 2 if pixels > 1e6 else 1))
    document = {
        "benchmark": "cut",
        "machine": describe(),
        "model": predictor.metadata.name,
        "summary": summarise(rows),
        "exponents": exponents(rows),
        "threads": two_threads(smallest, 1.0 if quick else 4.0),
        "rows": rows,
    }
    show(document)
    if json_path is not None:
        json_path.write_text(json.dumps(document, indent=1))
    if plot_path is not None:
        plot(document, plot_path)
    return document


def _rows(recording: Recording, size: str, every: int) -> Iterable[dict[str, Any]]:
    for level, multiple in SMOOTHNESS.items():
        for row in measure(recording, multiple, every):
            yield row | {"size": size, "smoothness": level}
