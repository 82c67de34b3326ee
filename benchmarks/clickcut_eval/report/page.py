"""The page: the paper's tables and figures in its order, of one run."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from clickcut_eval.errors import RunError
from clickcut_eval.metrics import Outcome
from clickcut_eval.report import html, plots
from clickcut_eval.report.groups import groups
from clickcut_eval.report.numbers import (
    Rows,
    by_category,
    garments,
    in_order,
    many_clicks,
    markdown,
    speed,
    table_1,
    table_2,
    thresholds,
)
from clickcut_eval.report.pictures import (
    Player,
    before_and_after_cut,
    selection,
    side_by_side,
)
from clickcut_eval.run import evenly
from clickcut_eval.store import Run

EXAMPLES = 2
"""Photographs per data set in figure 5."""

SHOWN_CLICKS = 4
"""Clicks in the sequences of figures 5 and 8."""

GARMENTS, WORST = 9, 10


def write_report(
    path: Path, out: Path, ours: str = "fcn-cut", alone: str = "fcn", pictures: bool = True
) -> list[Path]:
    """Write the page of a run, its plots as files beside it, and its tables as Markdown.

    Args:
        path: the run directory.
        out: the page, `.html`.
        ours: the method whose clicks the pictures show.
        alone: the same without graph cut.
        pictures: play clicks again and show photographs; needs the data and the models.

    Returns:
        What was written.

    Raises:
        RunError: not a run directory, or nothing in it.
        DatasetError, MethodError: data or models have changed since; only with pictures.
    """
    run = Run(path)
    if not any(run.outcomes.values()):
        raise RunError(f"{path}: nothing has been measured yet")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure = plots.curves_figure(run, groups(run), many_clicks(run))
    curves = out.with_name(f"{out.stem}_curves")
    plots.save(figure, curves)
    tables = out.with_name(f"{out.stem}_tables.md")
    numbers = [
        ("Table 1: mean clicks", _TABLE_1, *table_1(run)),
        ("NoC@90, NoC@95 and final IoU", _THRESHOLDS, *thresholds(run)),
        ("Parts of objects", _GARMENTS, *garments(run)),
        ("Table 2: one positive click", _TABLE_2, *table_2(run)),
        ("Speed", _SPEED, *speed(run)),
    ]
    tables.write_text("\n".join(_markdown(*entry) for entry in numbers if entry[-1]))
    sections = [
        _facts(run),
        html.section("Table 1: mean clicks", html.note(_TABLE_1), html.table(*table_1(run))),
        html.section(
            "NoC@90, NoC@95 and final IoU", html.note(_THRESHOLDS), html.table(*thresholds(run))
        ),
        *_optional("Parts of objects", _GARMENTS, *garments(run)),
        *_optional("Table 2: one positive click", _TABLE_2, *table_2(run)),
        html.section(
            "Figure 4: accuracy against clicks", html.note(_FIGURE_4), plots.as_svg(figure)
        ),
    ]
    if pictures:
        sections += _pictures(run, ours, alone)
    sections.append(html.section("Speed", html.note(_SPEED), html.table(*speed(run))))
    out.write_text(html.page("Clicks per object", *sections))
    return [out, curves.with_suffix(".png"), curves.with_suffix(".svg"), tables]


def _markdown(title: str, note: str, head: Sequence[str], rows: Rows) -> str:
    return f"## {title}\n\n{textwrap.fill(note, 120)}\n\n{markdown(head, rows)}"


_TABLE_1 = (
    "Mean clicks until the IoU behind @ is reached, the largest number allowed where it never is. "
    "Below: 95 % bootstrap interval over objects, and the figure that the paper prints. The "
    "paper's samples of VOC and COCO are other objects; GrabCut and Berkeley are the same sets. "
    "The methods without learning get discs of radius 5 for clicks. Seen are the classes of COCO "
    "that VOC has; to a model that was trained on COCO as well, such as `default`, none is unseen."
)
_THRESHOLDS = (
    "Mean clicks to IoU 0.90; below, to IoU 0.95, and the mean IoU in percent after the last "
    "click. Where users stopped at a lower IoU (--stop-at), these are not known."
)
_GARMENTS = (
    "Clothing Co-Parsing: clicks for each garment, on photographs that are kept for measuring."
)
_TABLE_2 = (
    "Mean IoU after one positive click on COCO objects, split by whether VOC has their class. The "
    "semantic methods select the connected component of the label under the click."
)
_FIGURE_4 = (
    "Mean IoU over objects; bands: 95 % bootstrap intervals; dotted: the IoU that table 1 counts "
    "to. An object whose user stopped early keeps its last IoU for the clicks not made."
)
_SPEED = (
    "Processor time of one core in the method itself, without reading files and simulated user."
)


def _optional(title: str, note: str, head: Sequence[str], rows: Rows) -> list[str]:
    """A section with a table, or nothing for a run without its data set."""
    return [html.section(title, html.note(note), html.table(head, rows))] if rows else []


def _facts(run: Run) -> str:
    protocol, machine = run.configuration["protocol"], run.configuration.get("machine", {})
    lines = [
        f"Click rule {protocol['rule']}, at most {protocol['max_clicks']} clicks, stop at IoU "
        f"{protocol['stop_at']:g}.",
        f"Machine: {machine.get('cpu', 'unknown')}, {machine.get('cores', '?')} cores.",
    ]
    for name, facts in in_order(run):
        hashes = ", ".join(f"{role} {value[:16]}" for role, value in facts["sha256"].items())
        if hashes:
            lines.append(f"{name}: {facts.get('model', facts['title'])} ({hashes}).")
    missing = [
        f"{method} on {dataset}: {len(run.of(dataset, method))} of {facts['objects']} objects"
        for dataset, facts in run.configuration["datasets"].items()
        for method in run.configuration["methods"]
        if 0 < len(run.of(dataset, method)) < facts["objects"]
    ]
    if missing:
        lines.append("Measured in part: " + "; ".join(missing) + ".")
    return "".join(html.note(line) for line in lines)


def _pictures(run: Run, ours: str, alone: str) -> Iterator[str]:
    player = Player(run)
    sets = [d for d in run.configuration["datasets"] if run.of(d, ours)]
    titles = [(name, facts["title"]) for name, facts in in_order(run)]
    parts = []
    for dataset in (d for d in sets if d != "clothing_parts"):
        for outcome in _typical(run.of(dataset, ours), EXAMPLES):
            shown = [(m, t) for m, t in titles if run.of(dataset, m) and m != alone]
            parts.append(html.row(side_by_side(player, dataset, outcome, shown)))
    yield html.section("Figure 5: the same clicks, every method", html.note(_FIGURE_5), *parts)
    if "clothing_parts" in sets:
        yield _clothing(run, player, ours)
    if alone in run.configuration["methods"]:
        parts = []
        for dataset in (d for d in sets if d != "clothing_parts"):
            for outcome in _typical(run.of(dataset, ours), 1):
                rows = before_and_after_cut(player, dataset, outcome, (alone, ours))
                parts += [html.row(row) for row in rows]
        yield html.section("Figure 8: before and after the cut", html.note(_FIGURE_8), *parts)
    everything = [(d, o) for d in sets if d != "clothing_parts" for o in run.of(d, ours) if o.ious]
    targets = {d: facts["target_iou"] for d, facts in run.configuration["datasets"].items()}
    worst = sorted(
        everything,
        key=lambda item: (
            item[1].reaches(targets[item[0]]),
            -item[1].clicks_to(targets[item[0]]),
            max(item[1].ious),
        ),
    )[:WORST]
    parts = []
    for dataset, outcome in worst:
        course = " ".join(f"{100 * v:.0f}" for v in outcome.ious)
        parts.append(html.note(f"{dataset} {outcome.name}; IoU after each click: {course}"))
        parts.append(html.row(selection(player, dataset, outcome, ours)))
    yield html.section("Failures: the ten worst objects", *parts)


_FIGURE_5 = (
    "Clicks are those that ours got (at most four); photographs are spread evenly over the objects "
    "that needed at least two clicks, not chosen by result."
)
_FIGURE_8 = "Section 4.5: the network's output thresholded at 0.5, and the cut, after each click."


def _typical(outcomes: Sequence[Outcome], count: int) -> list[Outcome]:
    """Objects spread evenly over those with two clicks or more, cut to `SHOWN_CLICKS` clicks."""
    several = [o for o in outcomes if len(o.clicks) >= 2] or list(outcomes)
    picked = evenly(several[len(several) // 4 :], count)
    return [
        Outcome(o.name, o.ious[:SHOWN_CLICKS], o.clicks[:SHOWN_CLICKS], o.seconds) for o in picked
    ]


def _clothing(run: Run, player: Player, ours: str) -> str:
    outcomes = run.of("clothing_parts", ours)
    target = run.configuration["datasets"]["clothing_parts"]["target_iou"]
    max_clicks = run.configuration["protocol"]["max_clicks"]
    parts = [
        selection(player, "clothing_parts", outcome, ours)[0]
        for outcome in evenly(outcomes, GARMENTS)
    ]
    head = ["garment", "objects", f"mean clicks @{100 * target:.0f}", "IoU after one click, %"]
    return html.section(
        "Figure 7: parts of objects",
        html.note("Garments, spread evenly over all; each with the clicks that it needed."),
        html.row(parts),
        html.table(head, by_category(outcomes, target, max_clicks)),
    )
