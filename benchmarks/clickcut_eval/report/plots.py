"""Plots of a run: mean IoU against clicks (the paper's figure 4)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from clickcut_eval.metrics import curves, interval
from clickcut_eval.report.groups import Group
from clickcut_eval.store import Run

mpl.rcParams["svg.fonttype"] = "none"  # text stays text

_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c564b", "#7f7f7f",
    "#bcbd22", "#17becf", "#9467bd", "#000000",
)  # fmt: skip
_LEGEND_WIDTH = 2.3
"""Inches that an entry of the legend takes."""

_MARKERS = "osv^D<>Xp*Ph"

_STYLES = "-", "--"
"""Of lines: the second when all colours are used up."""


def curves_figure(run: Run, chosen: Sequence[Group], methods: Sequence[str]) -> Figure:
    """A panel per group, a curve with its 95 % band per method, one legend below all.

    Args:
        run: measured.
        chosen: panels.
        methods: that make more than one click, in the order of the legend.
    """
    max_clicks = run.configuration["protocol"]["max_clicks"]
    columns = min(2, max(1, len(chosen)))
    rows = -(-len(chosen) // columns)
    width = max(5.6 * columns, 5.0)
    across = max(1, int(width / _LEGEND_WIDTH))
    lines = -(-len(methods) // across)
    figure = Figure(figsize=(width, 4.4 * rows + 0.3 * lines), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).reshape(-1)
    clicks = np.arange(1, max_clicks + 1)
    handles = {}
    lowest = 100.0
    for panel, group in zip(axes, chosen, strict=False):
        for n, method in enumerate(methods):
            outcomes = group.of(run, method)
            if not outcomes:
                continue
            ious = 100 * curves(outcomes, max_clicks)
            low, high = interval(ious)
            lowest = min(lowest, ious.mean(axis=0).min())
            colour = _COLOURS[n % len(_COLOURS)]
            panel.fill_between(clicks, low, high, color=colour, alpha=0.08, linewidth=0)
            (handles[method],) = panel.plot(
                clicks,
                ious.mean(axis=0),
                color=colour,
                marker=_MARKERS[n % len(_MARKERS)],
                linestyle=_STYLES[n // len(_COLOURS) % len(_STYLES)],
                markersize=3.5,
                linewidth=2.2 if n == 0 else 1.2,
                zorder=3 if n == 0 else 2,
            )
        panel.axhline(100 * group.target, color="#999999", linewidth=0.8, linestyle=":")
        panel.set_title(f"{group.title} (n = {len(group.of(run, methods[0]))})", fontsize=10)
        panel.set_xticks([1, *range(5, max_clicks + 1, 5)] if max_clicks >= 5 else clicks)
        panel.set_xlabel("clicks", fontsize=9)
        panel.grid(alpha=0.25)
    axes[0].set_ylim(10 * (lowest // 10), 100)
    for panel in axes[len(chosen) :]:
        panel.set_visible(False)
    figure.supylabel("mean IoU, %", fontsize=10)
    titles = [run.configuration["methods"][m]["title"] for m in handles]
    figure.legend(
        handles.values(), titles, loc="outside lower center", ncols=across,
        fontsize=9, frameon=False,
    )  # fmt: skip
    return figure


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element, to be put into a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save(figure: Figure, path: Path) -> None:
    """Write the figure as `path`.png and `path`.svg."""
    figure.savefig(path.with_suffix(".png"), dpi=110)
    figure.savefig(path.with_suffix(".svg"))
