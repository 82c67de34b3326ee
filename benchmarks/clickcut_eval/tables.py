"""Numbers of a run: on the terminal, as CSV for others to analyse, as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clickcut_eval.metrics import TARGETS, curves, summary
from clickcut_eval.store import PLACES, Run


def summaries(run: Run) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(data set, method, `metrics.summary`) of everything that was measured, in a run's order."""
    protocol = run.configuration["protocol"]
    for dataset, facts in run.configuration["datasets"].items():
        for method in run.configuration["methods"]:
            if outcomes := run.of(dataset, method):
                yield (
                    dataset,
                    method,
                    summary(
                        outcomes, facts["target_iou"], protocol["max_clicks"], protocol["stop_at"]
                    ),
                )


def print_tables(run: Run, console: Console) -> None:
    """One table per data set."""
    protocol = run.configuration["protocol"]
    console.print(
        f"click rule {protocol['rule']}, at most {protocol['max_clicks']} clicks, "
        f"stop at IoU {protocol['stop_at']:g}; never: objects that never reach the set's IoU; "
        "IoU: mean after this many clicks; area: mean IoU over all clicks; ms: per click"
    )
    tables: dict[str, Table] = {}
    for dataset, method, r in summaries(run):
        facts = run.configuration["datasets"][dataset]
        if dataset not in tables:
            tables[dataset] = table = Table(
                title=f"{facts['title']}, {facts['objects']} objects",
                box=None,
                pad_edge=False,
                collapse_padding=True,
                title_justify="left",
            )
            for column in (
                "method", "n", "NoC@85", "NoC@90", "NoC@95", f"95% @{100 * r['target_iou']:.0f}",
                "never", f"IoU 1 2 3 5 {protocol['max_clicks']}", "area", "ms",
            ):  # fmt: skip
                table.add_column(
                    column, justify="left" if column == "method" else "right", no_wrap=True
                )
        low, high = r["interval"]
        tables[dataset].add_row(
            method,
            str(r["objects"]),
            *(_number(r[f"noc{round(100 * t)}"], 2) for t in TARGETS),
            f"{low:.1f}-{high:.1f}",
            str(r["never_reached"]),
            " ".join(_percent(v) for v in (*r["iou_after"], r["final_iou"])),
            f"{r['area_under']:.3f}",
            f"{1e3 * r['seconds_per_click']:.0f}",
        )
    for table in tables.values():
        console.print(table)
    empty = [f"{d} {o}" for (d, _, o), outcome in run.outcomes.items() if outcome is None]
    if empty:
        console.print(f"skipped, no object pixels: {', '.join(sorted(set(empty)))}")


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return _number(None if value is None else 100 * value, 0)


def write_tables(run: Run) -> None:
    """`summary.json`, `objects.csv` (a row per object) and `clicks.csv` (a row per click)."""
    facts = {k: v for k, v in run.configuration.items() if k != "format"}
    for kind in ("datasets", "methods"):
        facts[kind] = {
            name: {k: v for k, v in entry.items() if k not in PLACES}
            for name, entry in facts[kind].items()
        }
    document = {
        **facts,
        "results": [{"dataset": d, "method": m, **r} for d, m, r in summaries(run)],
    }
    (run.path / "summary.json").write_text(json.dumps(document, indent=1) + "\n")
    _write_csv(run.path / "objects.csv", _objects(run))
    _write_csv(run.path / "clicks.csv", _clicks(run))


def _objects(run: Run) -> Iterator[list[Any]]:
    protocol = run.configuration["protocol"]
    max_clicks = protocol["max_clicks"]
    known = [t for t in TARGETS if t <= protocol["stop_at"]]
    yield [
        "dataset", "method", "object", "category", "area", "width", "height", "clicks",
        *(f"clicks_to_{round(100 * t)}" for t in known), "seconds_image", "seconds_click",
        *(f"iou_{k}" for k in range(1, max_clicks + 1)),
    ]  # fmt: skip
    for (dataset, method, name), o in sorted(run.outcomes.items()):
        if o is not None:
            per_click = sum(o.seconds) / max(1, len(o.seconds))
            yield [
                dataset, method, name, o.category, o.area, *o.size, len(o.clicks),
                *(o.clicks_to(t, max_clicks) for t in known),
                f"{o.image_seconds:.4f}", f"{per_click:.4f}",
                *(f"{v:.4f}" for v in curves([o], max_clicks)[0]),
            ]  # fmt: skip


def _clicks(run: Run) -> Iterator[list[Any]]:
    yield ["dataset", "method", "object", "click", "x", "y", "positive", "iou", "seconds"]
    for (dataset, method, name), o in sorted(run.outcomes.items()):
        if o is not None:
            for k, ((x, y, positive), iou, s) in enumerate(
                zip(o.clicks, o.ious, o.seconds, strict=True), 1
            ):
                yield [dataset, method, name, k, x, y, int(positive), f"{iou:.4f}", f"{s:.4f}"]


def _write_csv(path: Path, rows: Iterator[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
