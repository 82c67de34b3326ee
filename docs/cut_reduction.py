"""Draw docs/cut_reduction.png: which pixels of a photograph a cut looks at.

python docs/cut_reduction.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from clickcut.backends import load_predictor
from clickcut.bundle import bundled_models
from clickcut.commands.demo import packaged_photograph
from clickcut.cut import EdgeWeights
from clickcut.cut.graph import CAPACITY, END, NEIGHBOUR, RECORD, X, Y
from clickcut.cut.grid import GridSolver
from clickcut.cut.problem import make_samples
from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.session import ClickSession
from clickcut_eval.recording import RecordingPredictor

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

CLICKS = [(250, 300, True), (190, 120, True), (60, 60, False)]
COLOURS = {
    "fixed by the first sweep: same sign all around": (0.75, 0.78, 0.82),
    "fixed when the search reached them: no flow": (0.97, 0.80, 0.25),
    "core: carries flow": (0.82, 0.16, 0.16),
}


def kinds(logits, region, seeds, cut_lambda, edges):
    """Kind of each pixel (h, w), index into COLOURS, and the mask."""
    samples = make_samples(logits, region.width, region.height, cut_lambda)
    kind = np.zeros((region.height, region.width), np.int8)
    solver = GridSolver(edges)
    mask = solver.solve(samples, region, seeds, 5.0)
    graph = solver.graph.astype(np.int64)
    for i in range(RECORD, int(solver.progress[END]), RECORD):
        carries = any(
            graph[i + NEIGHBOUR + k]
            and graph[i + CAPACITY + k] != graph[graph[i + NEIGHBOUR + k] + CAPACITY + (k ^ 1)]
            for k in range(8)
        )
        kind[graph[i + Y], graph[i + X]] = 2 if carries else 1
    return kind, mask


def main() -> None:
    """Play three clicks and draw what the cut of the last one looked at."""
    pixels, _ = packaged_photograph()
    recorder = RecordingPredictor(load_predictor(bundled_models()["default"]))
    session = ClickSession(prepare_pixels(pixels), recorder)
    for click in CLICKS:
        session.click(*click)
    region: Region = session.probability[0]
    seeds = np.array([(x, y, 1 if sign else -1) for x, y, sign in CLICKS], np.int32)
    edges = EdgeWeights(pixels)
    figure, panels = plt.subplots(1, 3, figsize=(15, 5.6), layout="constrained")
    panels[0].imshow(pixels)
    panels[0].set_title("photograph, clicks, mask")
    for x, y, sign in CLICKS:
        panels[0].plot(x, y, "+" if sign else "_", color="lime" if sign else "red", ms=12, mew=3)
    colours = np.array(list(COLOURS.values()))
    for panel, multiple in zip(panels[1:], (1.0, 0.1), strict=True):
        cut_lambda = session.parameters.cut_lambda * multiple
        kind, mask = kinds(recorder.logits[-1][0], region, seeds, cut_lambda, edges)
        panel.imshow(colours[kind], extent=(region.x0, region.x1, region.y1, region.y0))
        share = [100 * np.mean(kind == k) for k in range(3)]
        shares = ", ".join(f"{s:.1f} %" for s in share)
        panel.set_title(f"lambda = {cut_lambda:g}: {shares}")
        if multiple == 1:
            panels[0].contour(
                np.arange(region.x0, region.x1),
                np.arange(region.y0, region.y1),
                mask,
                [0.5],
                colors="white",
            )
    for panel in panels:
        panel.set_axis_off()
    figure.legend(
        handles=[Patch(color=c, label=name) for name, c in COLOURS.items()],
        loc="outside lower center",
        ncols=4,
    )
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


main()
