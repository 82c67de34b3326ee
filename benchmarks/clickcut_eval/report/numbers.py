"""The tables of the page, and the same as Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from clickcut_eval.methods import CLASSICAL, SEMANTIC
from clickcut_eval.metrics import Outcome, interval
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
    """NoC@90, below it NoC@95 and the IoU after the last click, with intervals; "–": unknown."""
    chosen = groups(run)
    rows: Rows = []
    for method in many_clicks(run):
        cells = [_three(run, group.of(run, method)) for group in chosen]
        rows.append((run.configuration["methods"][method]["title"], cells))
    return ["mean clicks to IoU 90", *(g.title for g in chosen)], rows


def garments(run: Run) -> tuple[list[str], Rows]:
    """Parts of objects (section 4.4): NoC@85, and NoC@90, NoC@95 and final IoU as `thresholds`."""
    rows: Rows = []
    for method in many_clicks(run):
        outcomes = run.of("clothing_parts", method)
        if outcomes:
            text, between = _mean(_clicks(run, outcomes, 0.85), 2)
            cells = [(text, between, False), _three(run, outcomes)]
            rows.append((run.configuration["methods"][method]["title"], cells))
    return ["mean clicks for a garment", "to IoU 85", "to IoU 90"], rows


def _three(run: Run, outcomes: Sequence[Outcome]) -> html.Cell:
    if not outcomes:
        return "–", "", False
    noc90, between = _mean(_clicks(run, outcomes, 0.9), 2)
    known = run.configuration["protocol"]["stop_at"] >= 1
    final = [100 * o.ious[-1] if o.ious else 0.0 for o in outcomes] if known else []
    others = (
        f"{name} {text} ({ends})" if ends else f"{name} {text}"
        for name, (text, ends) in (
            ("@95", _mean(_clicks(run, outcomes, 0.95), 2)),
            ("IoU", _mean(final, 1)),
        )
    )
    return noc90, "; ".join([*([between] if between else []), *others]), False


def _clicks(run: Run, outcomes: Sequence[Outcome], target: float) -> list[float]:
    """Clicks of each object; none if users stopped before the target."""
    protocol = run.configuration["protocol"]
    if target > protocol["stop_at"]:
        return []
    return [float(o.clicks_to(target, protocol["max_clicks"])) for o in outcomes]


def _mean(values: Sequence[float], digits: int) -> tuple[str, str]:
    """The mean and its interval for people; a dash and nothing without values."""
    if not values:
        return "–", ""
    low, high = interval(values)
    return f"{np.mean(values):.{digits}f}", f"{low:.1f}–{high:.1f}"


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
