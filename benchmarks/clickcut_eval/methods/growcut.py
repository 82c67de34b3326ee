"""GrowCut (Vezhnevets and Konouchine, Graphicon 2005)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.methods.base import OBJECT, lab
from clickcut_eval.methods.classical import Classical
from clickcut_eval.methods.paths import LENGTHS, PathForest, difference_costs

SCALE = 4096
"""Cost of losing the fraction 1 - 1/e of the strength."""

STEPS = 20
"""Entries of the cost table per unit of colour difference."""


@dataclass(frozen=True)
class GrowCutParameters:
    """Parameters; the values are those found on training photographs, see docs/eval.md.

    Attributes:
        smoothing: sigma of a Gaussian filter on the image first, pixels; 0 in the paper.
        decay: part of the strength that each step of one pixel costs besides; 0 in the paper. It
            lets the nearer of two seeds win in an even area, as in the automaton, where the one
            that arrives first does.
    """

    smoothing: float = 1.96
    decay: float = 0.000102


class GrowCut(Classical):
    """Seeds grow: a pixel is conquered by the neighbour whose attack is stronger than its defence.

    The attack of q on p is theta_q g(|C_p - C_q|) with g(d) = 1 - d / max |C|. The automaton comes
    to rest when theta_p is the largest product of g along any path from a seed (strength 1), hence
    the state at rest is a shortest-path problem with costs -log g, solved directly. Colours are
    L*a*b*, the neighbourhood is Moore's. Until the first negative click the image's border is
    background.
    """

    Parameters = GrowCutParameters

    def __init__(self, parameters: GrowCutParameters | None = None) -> None:
        self.parameters = parameters or GrowCutParameters()
        super().__init__()

    def _prepare(self) -> None:
        p = self.parameters
        colours = lab(self.pixels)
        if p.smoothing > 0:
            colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), p.smoothing), np.float32)
        largest = max(float(np.linalg.norm(colours, axis=2).max()), 1.0)
        differences = np.arange(int(largest * STEPS) + 1) / (STEPS * largest)
        loss = -np.log(np.maximum(1 - differences, 1e-6))
        # At least one unit a step: of two equal strengths the one that arrives first stays.
        step = np.maximum(-math.log1p(-p.decay) * SCALE * LENGTHS, 1)
        tables = np.rint(SCALE * loss + step).astype(np.int32)
        self._costs = difference_costs(colours, float(STEPS), tables)
        self._forest = PathForest(self._costs)

    def _select(self) -> NDArray[np.bool_]:
        if not self.seeds.both or self.seeds.flipped or len(self.seeds.clicks) == 2:
            # Without clicks of both kinds, and when discs overlapped, seeds have gone: restart.
            self._forest = PathForest(self._costs)
            self._forest.grow(self.seeds.with_border())
        else:
            self._forest.grow(self.seeds.latest)
        return np.asarray(self._forest.label == OBJECT)
