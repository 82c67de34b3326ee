"""Table and plot of `clickcut bench load`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clickcut_bench.load.annotator import Event
from clickcut_bench.load.plan import KINDS

_COUNTS = ("events", "accepted", "refused", "refusals", "failed", "left out", "wrong masks")

_DASHES = {"first click": "--", "click": "-"}


def show(document: dict[str, Any]) -> None:
    """Print the tables, a column for each run."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine, runs = document["machine"], document["runs"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores")
    names = [f"{row['server']}\n{row['annotators']} annotators" for row in runs]
    counts = Table("", *names, title="Load, open loop")
    for name in (*_COUNTS, "accepted per second"):
        counts.add_row(name, *(f"{row[name]:.4g}" for row in runs))
    for name, key in (("Jain's index of medians", "jain"), ("max / min of them", "max_over_min")):
        counts.add_row(name, *(_number(row["fairness"], key, ".3f") for row in runs))
    counts.add_row("memory, MiB, peak", *(_number(row, "memory_mib", ".0f") for row in runs))
    for name in ("server", "generator", "others"):
        counts.add_row(f"cores used: {name}", *(_number(row["cores"], name, ".2f") for row in runs))
    times = Table("ms", *names, title="From the intended time: p50 / p95 / p99 (n)")
    for kind in KINDS:
        times.add_row(kind, *(_three(row["latency ms"][kind]) for row in runs))
    for stage in dict.fromkeys(stage for row in runs for stage in row["server ms"]):
        found = (_three(row["server ms"].get(stage, {"n": 0})) for row in runs)
        times.add_row(f"click on the server: {stage}", *found)
    times.add_row("delay of the generator", *(_three(row["generator late ms"]) for row in runs))
    for table in (counts, times):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)
    for row in runs:
        for error, count in row["errors"].items():
            text = f"{row['server']}, {row['annotators']} annotators: {count} x {error}"
            console.print(text, highlight=False, markup=False)


def _number(row: dict[str, Any], key: str, form: str) -> str:
    return format(row[key], form) if key in row else "-"


def _three(found: dict[str, float]) -> str:
    if "p50" not in found:
        return "-"
    return " / ".join(f"{found[p]:.1f}" for p in ("p50", "p95", "p99")) + f" ({found['n']})"


def plot(
    document: dict[str, Any], runs: Sequence[tuple[dict[str, Any], Sequence[Event]]], path: Path
) -> None:
    """Draw how many steps take longer than a time, and the latencies over the time of each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    load = document["load"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), constrained_layout=True)
    for number, (row, events) in enumerate(runs):
        colour, name = f"C{number % 10}", f"{row['server']}, {row['annotators']} annotators"
        accepted = [e for e in events if e.outcome == "accepted"]
        for kind, dashes in _DASHES.items():
            counted = sorted(
                e.latency for e in accepted if e.kind == kind and e.intended >= load["warm_up"]
            )
            if counted:
                share = 1 - np.arange(len(counted)) / len(counted)
                left.step(
                    counted, share, dashes, where="post", color=colour, label=f"{name}: {kind}"
                )
        right.plot(
            [e.intended for e in accepted],
            [e.latency for e in accepted],
            ".",
            ms=3,
            alpha=0.5,
            color=colour,
            label=name,
        )
        refused = [e for e in events if e.refusals]
        if refused:
            right.plot(
                [e.intended for e in refused], [e.latency for e in refused], "x", color=colour
            )
    for level in (0.5, 0.05, 0.01):
        left.axhline(level, color="0.8", lw=0.8, zorder=0)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="milliseconds from the intended time to the mask",
        ylabel="fraction of steps that take longer (lines: p50, p95, p99)",
    )
    left.legend(fontsize=8)
    right.axvspan(0, load["warm_up"], color="0.92", zorder=0)
    right.set(
        yscale="log",
        xlabel="intended time, seconds from the start; grey: not counted",
        ylabel="milliseconds; crosses: refused at least once",
    )
    machine = document["machine"]
    habits = load["habits"]
    figure.suptitle(
        f"Load in an open loop, {habits['think_seconds']:g} s of think time: {machine['cpu']}, "
        f"{machine['cores']} cores",
        fontsize=10,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)
