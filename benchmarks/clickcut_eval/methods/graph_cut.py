"""Interactive graph cuts (Boykov and Jolly, ICCV 2001)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.cut import Cut, EdgeWeights
from clickcut.region import Region
from clickcut_eval.methods.classical import Classical
from clickcut_eval.methods.colour import ColourModel


@dataclass(frozen=True)
class GraphCutParameters:
    """Parameters; the values are those found on training photographs, see docs/eval.md.

    Attributes:
        cut_lambda: lambda of E = lambda R + B (equation 1 there).
        contrast: sigma of B (equation 8 there) as a multiple of the root mean squared colour
            difference of neighbours in the image.
        bandwidth: of the colour model, units of L*a*b*; they used histograms of grey values.
        floor: of the colour model.
        image_weight: of the colour model; they always had seeds of both kinds.
        max_pixels: larger images are reduced to about this many.
    """

    cut_lambda: float = 0.0117
    contrast: float = 0.993
    bandwidth: float = 10.9
    floor: float = 0.00102
    image_weight: float = 214.0
    max_pixels: int = 100_000


class GraphCut(Classical):
    """Minimum cut of colour likelihoods and contrast; seeds are hard constraints.

    R is -log of the seeds' colour densities, B the contrast term over the pixel distance, on the
    8-connected grid: equations 1-3, 8 and table 1 of the paper. The cut is the engine's, exact.
    """

    Parameters = GraphCutParameters

    def __init__(self, parameters: GraphCutParameters | None = None) -> None:
        self.parameters = parameters or GraphCutParameters()
        super().__init__(self.parameters.max_pixels)

    def _prepare(self) -> None:
        p = self.parameters
        self._colours = ColourModel(self.pixels, p.bandwidth, p.floor, p.image_weight)
        edges = EdgeWeights(self.pixels)
        self._cut = Cut(EdgeWeights(self.pixels, max(edges.sigma * p.contrast, 0.1)))
        height, width = self.pixels.shape[:2]
        self._region = Region(0, 0, width, height)

    def _select(self) -> NDArray[np.bool_]:
        logits = self._colours.log_ratio(self.seeds.label)
        clicks = [
            (round(x), round(y), 1 if positive else -1) for x, y, positive in self.seeds.clicks
        ]
        return self._cut.solve(
            logits,
            self._region,
            np.array(clicks, np.int32),
            self.parameters.cut_lambda,
            self.seeds.radius,
        )
