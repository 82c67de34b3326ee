"""Table and plot of `clickcut bench backends`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def show(document: dict[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine, rows = document["machine"], document["cases"]
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    console.print(f"{machine['cpu']}, {machine['cores']} cores{gpu}")
    batches = sorted({b for row in rows for b in row["images_per_second"]})
    table = Table(
        "model",
        "back-end",
        "S",
        *(f"{p}\nms" for p in ("p50", "p95", "p99")),
        "load\nms",
        "memory\nMiB",
        *(f"batch {b}\nimages/s" for b in batches),
        title="The network alone",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        memory = f"{row['memory_mib']:.0f}"
        if row.get("gpu_memory_mib"):
            memory += f" + {row['gpu_memory_mib']:.0f} GPU"
        table.add_row(
            row["model"],
            row["backend"],
            str(row["size"]),
            *(f"{row['latency_ms'][p]:.1f}" for p in ("p50", "p95", "p99")),
            f"{row['load_ms']:.0f}",
            memory,
            *(f"{row['images_per_second'][b]:.1f}" for b in batches),
        )
    console.print(table)
    _show_merging(console, rows)
    for row in document["skipped"]:
        text = f"skipped: {row['model']}, {row['backend']}, {row['size']}: {row['reason']}"
        console.print(text, highlight=False, markup=False)
    for reason in document["unavailable"].values():
        console.print(f"not measured: {reason}", highlight=False, markup=False)


def _show_merging(console: Any, rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    merging = Table(
        "model",
        "back-end",
        "S",
        "alone, plain\np50 ms",
        "alone, merging\np50 ms",
        "several, plain\nimages/s",
        "several, merging\nimages/s",
        title="Dynamic batching",
    )
    for column in merging.columns[2:]:
        column.justify = "right"
    for row in rows:
        if "merging" in row:
            alone, several = row["merging"]["alone"], row["merging"]["several"]
            merging.add_row(
                row["model"],
                row["backend"],
                str(row["size"]),
                *(f"{alone[way]['p50_ms']:.2f}" for way in ("plain", "merging")),
                *(f"{several[way]['images_per_second']:.1f}" for way in ("plain", "merging")),
            )
    console.print(merging)


def plot(document: dict[str, Any], path: Path) -> None:
    """Latency with its tail, and throughput by batch size, a colour for each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = document["cases"]
    height = 1.6 + 0.42 * len(rows)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, max(3.4, height)), constrained_layout=True, width_ratios=(1.15, 1)
    )
    names = [f"{r['model']}\n{r['backend']}, {r['size']} px" for r in rows]
    places = np.arange(len(rows))[::-1]
    colours = [f"C{k % 10}" for k in range(len(rows))]
    medians = np.array([r["latency_ms"]["p50"] for r in rows])
    tails = np.array([r["latency_ms"]["p99"] for r in rows]) - medians
    left.barh(places, medians, 0.6, color=colours)
    left.errorbar(
        medians, places, xerr=[np.zeros_like(tails), tails], fmt="none", ecolor="0.3", capsize=3
    )
    for place, row in zip(places, rows, strict=True):
        p50, p99 = row["latency_ms"]["p50"], row["latency_ms"]["p99"]
        left.text(p99, place, f"  {p50:.1f}", va="center", fontsize=8)
    left.set_xlim(0, 1.12 * max(r["latency_ms"]["p99"] for r in rows))
    left.set(
        yticks=places,
        yticklabels=names,
        xlabel="ms of one prediction: p50, whisker to p99",
    )
    left.tick_params(axis="y", labelsize=7)
    for row, colour in zip(rows, colours, strict=True):
        counts = row["images_per_second"]
        right.plot(list(counts), list(counts.values()), "o-", color=colour)
    batches = sorted({b for r in rows for b in r["images_per_second"]})
    right.set_xscale("log", base=2)
    right.set_xticks(batches, [str(b) for b in batches])
    right.set(xlabel="batch size; colours as on the left", ylabel="images per second")
    speeds = [speed for r in rows for speed in r["images_per_second"].values()]
    if max(speeds) > 8 * min(speeds):
        right.set_yscale("log")
        right.yaxis.set_major_formatter("{x:g}")
    else:
        right.set_ylim(0, None)
    right.grid(alpha=0.3, which="both")
    machine = document["machine"]
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    figure.suptitle(
        f"The network alone: {machine['cpu']}, {machine['cores']} cores{gpu}", fontsize=10
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)
