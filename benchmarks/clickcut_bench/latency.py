"""`clickcut bench latency`: a click end to end, through a real server on loopback.

For each image size a number of sessions is played: the photograph is sent (as JPEG, with different
bytes each time, so that the server does not have it), the simulated user clicks, and for every
click the client's clock and the server's timings by stage are kept. In the same run the kernels are
compared with common alternatives.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clickcut.client import Client
from clickcut.commands.demo import running_server
from clickcut.timings import STAGES
from clickcut_bench.photographs import Photograph, photograph, scaled, targets
from clickcut_eval.clicker import Clicker
from clickcut_eval.machine import describe

SIZES = {
    "500x375": (500, 375),
    "1080p": (1920, 1080),
    "12 MP": (4000, 3000),
    "24 MP": (6000, 4000),
    "50 MP": (8640, 5760),
}
USUAL = ("500x375", "1080p", "12 MP")
"""Those that are measured unless others are asked for."""

CLICKS = 6


@dataclass(frozen=True)
class Timing:
    """One request.

    Attributes:
        first: whether it opened the session and made the first click.
        client_ms: on the client's clock, end to end.
        stages: milliseconds on the server by stage.
    """

    first: bool
    client_ms: float
    stages: dict[str, float]


def play(
    client: Client, photograph: Photograph, nonce: int, clicks: int = CLICKS
) -> Iterable[Timing]:
    """One session: upload, open, so many clicks at the deepest error."""
    pixels, mask, ignore = photograph
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    data += nonce.to_bytes(8, "little")  # behind the image's end: other bytes, the same picture
    clicker = Clicker(mask, ignore)
    click = clicker.next_click(np.zeros_like(mask))
    began = time.perf_counter()
    with client.open(data) as session:
        stages = dict(session.timings)
        for k in range(clicks):
            if click is None:
                return
            if k:
                began, stages = time.perf_counter(), {}
            x, y, positive = click
            selected = session.click(x, y, positive=positive)
            spent = 1e3 * (time.perf_counter() - began)
            for name, ms in session.timings.items():
                stages[name] = stages.get(name, 0.0) + ms
            yield Timing(k == 0, spent, stages)
            click = clicker.next_click(selected)


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p95 and p99."""
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def summarise(timings: list[Timing]) -> dict[str, dict[str, dict[str, float]]]:
    """Percentiles of first and later clicks, by stage and end to end."""
    result = {}
    for name, first in (("first click, upload included", True), ("later clicks", False)):
        chosen = [t for t in timings if t.first == first]
        if not chosen:
            continue
        rows = {"end to end": percentiles([t.client_ms for t in chosen])}
        for stage in STAGES:
            if any(stage in t.stages for t in chosen):
                rows[stage] = percentiles([t.stages.get(stage, 0.0) for t in chosen])
        result[name] = rows | {"count": {"n": len(chosen)}}
    return result


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median time of `work` after one warm-up call, milliseconds."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(1e3 * (time.perf_counter() - began))
    return float(np.median(spent))


def compare_kernels(photograph: Photograph, repeats: int = 15) -> dict[str, dict[str, float]]:
    """Compare our kernels with common alternatives at 500x375, one thread each; milliseconds."""
    from scipy.ndimage import distance_transform_edt

    from clickcut.cut import Cut, EdgeWeights
    from clickcut.maps import DistanceMap
    from clickcut.region import Region

    pixels, mask, _ = scaled(photograph, 500, 375)
    rng = np.random.default_rng(0)
    points = [(int(x), int(y)) for x, y in rng.integers(0, (500, 375), (8, 2))]
    shown = DistanceMap(np.empty((375, 500), np.float32))
    unclicked = np.ones((375, 500), np.bool_)
    for x, y in points:
        unclicked[y, x] = False

    def add_last() -> float:
        shown.show(points[:-1])
        began = time.perf_counter()
        shown.show(points)
        return 1e3 * (time.perf_counter() - began)

    add_last()
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 6)
    logits = cv2.resize(8 * (blurred - 0.5), (320, 320)).astype(np.float32)
    region = Region(0, 0, 500, 375)
    seeds = [np.array([(250, 180, 1), (5, 5, -1)][: k + 1], np.int32) for k in range(2)]
    edges = EdgeWeights(pixels)
    warm = Cut(edges)

    def solve(cut: Cut, k: int) -> object:
        return cut.solve(logits, region, seeds[k], 1.0, 5.0)

    turn = iter(range(10**6))
    return {
        "distance map, one more click": {
            "ours": float(np.median([add_last() for _ in range(repeats)])),
            "scipy distance_transform_edt": median_ms(
                lambda: np.minimum(distance_transform_edt(unclicked), 255), repeats
            ),
        },
        "graph cut of the whole image": {
            "ours, warm": median_ms(lambda: solve(warm, next(turn) % 2), repeats),
            "ours, cold": median_ms(lambda: solve(Cut(edges), 1), repeats),
            "PyMaxflow, cold": median_ms(lambda: solve(Cut(edges, "pymaxflow"), 1), repeats),
        },
    }


def show(document: dict[str, Any]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = document["machine"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; model {document['model']}")
    for size, parts in document["sizes"].items():
        for part, rows in parts.items():
            table = Table(
                "ms", "p50", "p95", "p99", title=f"{size}, {part} (n={rows['count']['n']})"
            )
            for stage, row in rows.items():
                if stage != "count":
                    table.add_row(stage, *(f"{row[p]:.1f}" for p in ("p50", "p95", "p99")))
            console.print(table)
    table = Table(
        "kernel at 500x375", "way", "median ms", title="Against what one would write otherwise"
    )
    for kernel, ways in document["kernels"].items():
        for way, ms in ways.items():
            table.add_row(kernel, way, f"{ms:.2f}")
    console.print(table)


def plot(document: dict[str, Any], path: Path) -> None:
    """Stacked bars of the stages' medians, a bar per size, for first and later clicks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sizes = document["sizes"]
    parts = list(next(iter(sizes.values())))
    figure, grid = plt.subplots(
        1, len(parts), figsize=(10, 3.4), constrained_layout=True, squeeze=False
    )
    axes = grid[0]
    for axis, part in zip(axes, parts, strict=True):
        names = list(sizes)[::-1]
        left = np.zeros(len(names))
        for colour, stage in enumerate(STAGES[:-1]):
            ms = np.array([sizes[n][part].get(stage, {"p50": 0.0})["p50"] for n in names])
            if ms.any():
                axis.barh(names, ms, left=left, label=stage, height=0.55, color=f"C{colour}")
                left += ms
        whole = [sizes[n][part]["end to end"] for n in names]
        for y, (row, end) in enumerate(zip(whole, left, strict=True)):
            axis.plot([row["p50"]], [y], "k|", markersize=16)
            text = f" {row['p50']:.0f} ms (p99 {row['p99']:.0f})"
            axis.text(max(row["p50"], end), y, text, va="center", fontsize=9)
        axis.set_xlim(0, 1.45 * max(max(r["p50"] for r in whole), left.max()))
        axis.set_xlabel("milliseconds, medians; bar: end to end on the client")
        axis.set_title(part, fontsize=10)
    axes[0].legend(fontsize=8, ncols=2)
    machine = document["machine"]
    figure.suptitle(f"A click by stage: {machine['cpu']}, {machine['cores']} cores", fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run(
    data: str,
    sessions: int,
    json_path: Path | None,
    plot_path: Path | None,
    sizes: Sequence[str] = USUAL,
    clicks: int = CLICKS,
) -> dict[str, Any]:
    """Measure; print tables; write JSON and plot when paths are given.

    Args:
        data: as of `targets`.
        sessions: of each size, after one that warms up.
        json_path: of the numbers.
        plot_path: of the picture.
        sizes: of `SIZES`.
        clicks: of a session.
    """
    chosen = [photograph(t) for t in targets(data)[:sessions]]
    document: dict[str, Any] = {"machine": describe(), "sizes": {}}
    nonce = 0
    with running_server() as address, Client(address) as client:
        document["model"] = client.models()[0].name
        for name in sizes:
            timings: list[Timing] = []
            for k in range(sessions + 1):
                nonce += 1
                # One at a time: all of them at 50 megapixels would fill the memory.
                sized = scaled(chosen[k % len(chosen)], *SIZES[name])
                played = list(play(client, sized, nonce, clicks))
                timings += played if k else []  # the first session warms up client and connection
            document["sizes"][name] = summarise(timings)
    document["kernels"] = compare_kernels(chosen[0])
    show(document)
    if json_path:
        json_path.write_text(json.dumps(document, indent=1))
    if plot_path:
        plot(document, plot_path)
    return document
