"""`clickcut bench cut`: our graph cut and PyMaxflow on click sequences recorded with a model.

Each photograph is brought to each size and clicked by the simulated user in a real session; what
the network gave for each click is kept. The recorded clicks are then cut again by both solvers,
warm (continuing from the click before) and cold, at three smoothness levels, all in one process on
one thread. *Session* is what a session does with the same click: large regions are cut on a reduced
image, uncertain ones coarse first, the rest exactly (`RegionCut`). Masks and energies of
the solvers must be the same, which is checked for every click. Times are processor time of the
thread, which other programs on the machine hardly change.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import load_predictor
from clickcut.bundle import bundled_models
from clickcut.cut import Cut, EdgeWeights, RegionCut, warm_up
from clickcut.cut.problem import energy_of, make_samples, unaries
from clickcut.images import prepare_pixels
from clickcut_bench.cut_report import SMOOTHNESS, exponents, plot, show, summarise
from clickcut_bench.photographs import photograph, scaled_to, targets
from clickcut_bench.recordings import Recording, record
from clickcut_eval.machine import describe

SIZES = {"0.2 MP": 500 * 375, "0.75 MP": 1000 * 750, "2.2 MP": 1500 * 1500, "12 MP": 4000 * 3000}
"""Pixels of the photograph."""

QUICK_SIZES = {"0.1 MP": 360 * 270, "0.2 MP": 500 * 375, "0.5 MP": 816 * 612}
"""The same for a quick run: most of the time is PyMaxflow's, which grows with the pixels."""

MAX_PIXELS = 2_300_000
"""Larger regions are cut by the session's way only; all others at full resolution as well."""


def measure(recording: Recording, multiple: float, every: int) -> Iterator[dict[str, Any]]:
    """Cut the clicks of a recording; one row for each: milliseconds by way, pixels, agreement.

    The first click is cold for both; the edge weights, which belong to the image, are there before.

    Args:
        recording: what to cut.
        multiple: of the model's lambda.
        every: PyMaxflow solves each n-th click cold as well.
    """
    image = prepare_pixels(recording.pixels)
    edges = image.edges
    warm = {"ours": Cut(edges), "PyMaxflow": Cut(edges, "pymaxflow")}
    session = RegionCut(image.pyramid, "grid")
    cut_lambda = recording.cut_lambda * multiple
    for number, click in enumerate(recording.clicks):
        arguments = click.logits, click.region, click.seeds, cut_lambda, recording.seed_radius
        RegionCut(image.pyramid, "grid").solve(*arguments)  # so that all edge weights are there
        row: dict[str, Any] = {"pixels": click.region.area, "click": number + 1}
        row[f"session {'later' if number else 'first'}"], _ = _timed(session, arguments)
        if click.region.area > MAX_PIXELS:
            yield row
            continue
        edges.dense(click.region)
        masks: list[NDArray[np.bool_]] = []
        for name, solver in (("ours", "grid"), ("PyMaxflow", "pymaxflow")):
            spent, mask = _timed(warm[name], arguments)
            masks.append(mask)
            row[f"{name} {'warm' if number else 'cold'}"] = spent
            if number and (name == "ours" or number % every == 0):
                row[f"{name} cold"], mask = _timed(Cut(edges, solver), arguments)
                masks.append(mask)
        yield row | _agreement(edges, arguments, masks)


def _timed(cut: Cut | RegionCut, arguments: tuple[Any, ...]) -> tuple[float, NDArray[np.bool_]]:
    began = time.thread_time()
    mask = cut.solve(*arguments)
    return 1e3 * (time.thread_time() - began), mask


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
        clicks = [c for c in recording.clicks if c.region.area <= MAX_PIXELS]
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


def run(
    quick: bool,
    json_path: Path | None,
    plot_path: Path | None,
    data: str,
    bundle: Path | None = None,
) -> dict[str, Any]:
    """Record, measure, print, and write the numbers and the plot where asked.

    Args:
        quick: one photograph, smaller sizes, and four clicks instead of eight photographs and six
            clicks.
        json_path: for the numbers.
        plot_path: for the plot, a PNG.
        data: see `photographs.targets`.
        bundle: a model; the packaged default when None.
    """
    warm_up()
    warm_up("pymaxflow")
    predictor = load_predictor(bundle or bundled_models()["default"])
    rows: list[dict[str, Any]] = []
    common: list[Recording] = []
    sizes = QUICK_SIZES if quick else SIZES
    found, limit = targets(data), 1 if quick else 8
    for target in found[:: max(1, len(found) // limit)][:limit]:
        whole = photograph(target)
        for size, pixels in sizes.items():
            recording = record(scaled_to(whole, pixels), predictor, 4 if quick else 6)
            if size == "0.2 MP":
                common.append(recording)
            rows.extend(_rows(recording, size, every=4 if quick else 2 if pixels > 1e6 else 1))
    document = {
        "benchmark": "cut",
        "machine": describe(),
        "model": predictor.metadata.name,
        "summary": summarise(rows),
        "exponents": exponents(rows),
        "threads": two_threads(common, 1.0 if quick else 4.0),
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
