"""Tables and plot of `clickcut bench cut`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WAYS = (
    "session later",
    "session first",
    "ours warm",
    "ours cold",
    "PyMaxflow warm",
    "PyMaxflow cold",
)
"""What a session does, at later clicks and at the first one, and both solvers at every pixel, going
on from the click before or not."""

_COLOURS = ("tab:blue", "tab:cyan", "tab:green", "yellowgreen", "tab:red", "tab:orange")

SMOOTHNESS = {"weak": 1.0, "medium": 0.3, "strong": 0.1}
"""Lambda, as a multiple of the model's."""


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
                line[check] = all(r[check] for r in chosen if check in r)
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
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    style: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False}
    machine, threads, summary = document["machine"], document["threads"], document["summary"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; model {document['model']}")
    sessions = Table("photo", "smooth", *WAYS[:2], **style)
    sessions.title = "A session: ms of a cut, median (99 %)"
    solvers = Table("photo", "smooth", *WAYS[2:], "ratio", **style)
    solvers.title = "Every pixel, exact: the same, and ratio of the medians, warm and cold"
    for line in summary:
        names = line["size"], line["smoothness"]
        sessions.add_row(*names, *_times(line, WAYS[:2]))
        ratios = [
            f"{line[f'PyMaxflow {heat}']['median'] / line[f'ours {heat}']['median']:.1f}"
            for heat in ("warm", "cold")
            if f"PyMaxflow {heat}" in line and f"ours {heat}" in line
        ]
        if ratios:
            solvers.add_row(*names, *_times(line, WAYS[2:]), " ".join(ratios))
    console.print(sessions, solvers)
    differ = [line for line in summary if not (line["energies_equal"] and line["masks_equal"])]
    for line in differ:
        console.print(f"MASKS OR ENERGIES DIFFER: {line['size']}, {line['smoothness']}")
    if not differ:
        console.print("masks and energies of both solvers are the same for every click")
    growth = Table("smooth", *WAYS, title="Exponent b of time = a pixels^b", **style)
    for level, ways in document["exponents"].items():
        growth.add_row(level, *(f"{ways[w]:.2f}" if w in ways else "-" for w in WAYS))
    console.print(growth)
    console.print(
        f"cuts per second: one thread {threads['one']:.0f}, two threads {threads['two']:.0f}, "
        f"ratio {threads['ratio']:.2f}"
    )


def _times(line: dict[str, Any], ways: tuple[str, ...]) -> list[str]:
    return [f"{line[w]['median']:.1f} ({line[w]['p99']:.0f})" if w in line else "-" for w in ways]


def plot(document: dict[str, Any], path: Path) -> None:
    """Time against pixels, a panel per smoothness."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(14, 4.4), sharey=True, layout="constrained")
    first = next(iter(SMOOTHNESS))
    sizes = [e["pixels"] / 1e6 for e in document["summary"] if e["smoothness"] == first]
    for panel, level in zip(panels, SMOOTHNESS, strict=True):
        rows = [r for r in document["rows"] if r["smoothness"] == level]
        for n, (way, colour) in enumerate(zip(WAYS, _COLOURS, strict=True)):
            aside = 1.11 ** (n - 2.5)  # side by side, so that markers do not overlap
            points = [(aside * r["pixels"] / 1e6, r[way]) for r in rows if way in r]
            if points:
                panel.plot(*zip(*points, strict=True), "o", color=colour, alpha=0.25, ms=3, mew=0)
            medians = [
                (aside * line["pixels"] / 1e6, line[way]["median"])
                for line in document["summary"]
                if line["smoothness"] == level and way in line
            ]
            if medians:
                panel.plot(*zip(*medians, strict=True), "-D", color=colour, label=way, ms=5, lw=1)
        panel.set(xscale="log", yscale="log", xlabel="pixels of the region, millions", title=level)
        panel.set_xticks(sizes, [f"{size:.2g}" for size in sizes])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("milliseconds")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    machine = document["machine"]["cpu"]
    figure.suptitle(f"Graph cut of a click by smoothness; lines: medians; one thread, {machine}")
    figure.savefig(path, dpi=130)
    plt.close(figure)
