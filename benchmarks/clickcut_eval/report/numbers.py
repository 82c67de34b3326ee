"""The tables of the page, and the same as Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from clickcut_eval.methods import CLASSICAL, SEMANTIC
from clickcut_eval.metrics import Outcome, interval, summary
from clickcut_eval.report import html, paper
from clickcut_eval.report.groups import Group, groups
from clickcut_eval.store import Run

Rows = list[tuple[str, list[html.Cell]]]


def in_order(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """The run's methods and what is known of them: ours, further bundles, then all others."""
    methods: dict[str, dict[str, Any]] = run.configuration["methods"]
    first, others = ["fcn-cut", "fcn"], [*CLASSICAL, *SEMANTIC, "sam"]

    def rank(name: str) -> tuple[int, int]:
        if name in first:
            return 0, first.index(name)
        return (2, others.index(name)) if name in others else (1, list(methods).index(name))

    return [(name, methods[name]) for name in sorted(methods, key=rank)]


def many_clicks(run: Run) -> list[str]:
    """Methods that take any number of clicks, as `in_order`."""
    return [name for name, facts in in_order(run) if not is_semantic(facts["kind"])]


def is_semantic(kind: str) -> bool:
    """Whether a method of this kind can use one click only."""
    return kind.startswith("semantic")


def table_1(run: Run) -> tuple[list[str], Rows]:
    """Mean clicks by method and group, with interval, failures and the paper's figure."""
    chosen = groups(run)
    max_clicks = run.configuration["protocol"]["max_clicks"]
    values: dict[tuple[str, str], float] = {}
    cells: dict[str, list[html.Cell]] = {}
    for method in many_clicks(run):
        cells[method] = []
        for group in chosen:
            outcomes = group.of(run, method)
            if not outcomes:
                cells[method].append(("–", "", False))
                continue
            clicks = [float(o.clicks_to(group.target, max_clicks)) for o in outcomes]
            values[method, group.title] = float(np.mean(clicks))
            low, high = interval(clicks)
            printed = paper.mean_clicks(method, group.key)
            beside = f"; paper {printed:.2f}" if printed is not None else ""
            small = f"{low:.1f}–{high:.1f}{beside}"
            cells[method].append((f"{np.mean(clicks):.2f}", small, False))
    return _head(chosen), _marked(run, cells, values, chosen)


def _head(chosen: Sequence[Group]) -> list[str]:
    return ["mean clicks", *(f"{g.title} @{100 * g.target:.0f}" for g in chosen)]


def _marked(
    run: Run,
    cells: dict[str, list[html.Cell]],
    values: dict[tuple[str, str], float],
    chosen: Sequence[Group],
) -> Rows:
    rows: Rows = []
    for method, line in cells.items():
        marked = []
        for (text, small, _), group in zip(line, chosen, strict=True):
            column = [v for (_, title), v in values.items() if title == group.title]
            best = bool(column) and values.get((method, group.title)) == min(column)
            marked.append((text, small, best))
        rows.append((run.configuration["methods"][method]["title"], marked))
    return rows


def thresholds(run: Run) -> tuple[list[str], Rows]:
    """NoC@90 and, below it, NoC@95 and the mean IoU after the last click; "–" where unknown."""
    chosen, protocol = groups(run), run.configuration["protocol"]
    rows: Rows = []
    for method in many_clicks(run):
        cells: list[html.Cell] = []
        for group in chosen:
            outcomes = group.of(run, method)
            if not outcomes:
                cells.append(("–", "", False))
                continue
            r = summary(outcomes, group.target, protocol["max_clicks"], protocol["stop_at"])
            noc90, noc95 = (_or_dash(r[key]) for key in ("noc90", "noc95"))
            iou = _or_dash(None if r["final_iou"] is None else 100 * r["final_iou"], 1)
            cells.append((noc90, f"@95 {noc95}; IoU {iou}", False))
        rows.append((run.configuration["methods"][method]["title"], cells))
    return ["mean clicks to IoU 90", *(g.title for g in chosen)], rows


def _or_dash(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def table_2(run: Run) -> tuple[list[str], Rows]:
    """Mean IoU after one positive click on COCO, seen and unseen classes."""
    chosen = [g for g in groups(run) if g.seen is not None]
    rows: Rows = []
    for method, facts in in_order(run):
        cells: list[html.Cell] = []
        for group in chosen:
            first = [100 * (o.ious[0] if o.ious else 0.0) for o in group.of(run, method)]
            if not first:
                cells.append(("–", "", False))
                continue
            low, high = interval(first)
            printed = paper.first_click(method, bool(group.seen))
            beside = f"; paper {printed:.1f}" if printed is not None else ""
            cells.append((f"{np.mean(first):.1f}", f"{low:.0f}–{high:.0f}{beside}", False))
        if any(text != "–" for text, *_ in cells):
            rows.append((facts["title"], cells))
    return ["mean IoU after one click, %", *(g.title for g in chosen)], rows


def speed(run: Run) -> tuple[list[str], Rows]:
    """Processor time per image and per click, over all data sets."""
    rows: Rows = []
    for method, facts in in_order(run):
        outcomes = [o for d in run.configuration["datasets"] for o in run.of(d, method)]
        seconds = [s for o in outcomes for s in o.seconds]
        if seconds:
            image = 1e3 * float(np.mean([o.image_seconds for o in outcomes]))
            numbers = image, 1e3 * float(np.mean(seconds)), 1e3 * float(np.percentile(seconds, 95))
            rows.append((facts["title"], [(f"{v:.0f}", "", False) for v in numbers]))
    return ["ms of one core", "per image", "per click", "95 % of clicks within"], rows


def by_category(outcomes: Sequence[Outcome], target: float, max_clicks: int) -> Rows:
    """Objects, mean clicks and mean IoU after one click by category, the frequent ones first."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[outcome.category].append(outcome)
    rows: Rows = []
    for name, some in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        clicks = float(np.mean([o.clicks_to(target, max_clicks) for o in some]))
        first = 100 * float(np.mean([o.ious[0] for o in some]))
        rows.append(
            (
                name,
                [
                    (str(len(some)), "", False),
                    (f"{clicks:.1f}", "", False),
                    (f"{first:.0f}", "", False),
                ],
            )
        )
    return rows


def markdown(head: Sequence[str], rows: Rows) -> str:
    """A table as Markdown; the smaller lines in brackets, the best of a column in bold."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, cells in rows:
        texts = [
            (f"**{text}**" if best else text) + (f" ({small})" if small else "")
            for text, small, best in cells
        ]
        lines.append("| " + " | ".join([name, *texts]) + " |")
    return "\n".join(lines) + "\n"
