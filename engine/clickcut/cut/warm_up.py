"""Compile every kernel before the first click, or load it from Numba's cache."""

from __future__ import annotations

import numpy as np

from clickcut.cut.cut import Cut
from clickcut.cut.weights import EdgeWeights
from clickcut.region import Region


def warm_up(solver: str = "grid") -> None:
    """Solve a small problem twice with the argument types of real ones; seconds when not cached."""
    rng = np.random.default_rng(0)
    edges = EdgeWeights(rng.integers(0, 30, (80, 80, 3), np.uint8))
    cut = Cut(edges, solver)
    seeds = np.array([[10, 10, 1], [70, 70, -1]], np.int32)
    for _ in range(2):  # the second starts warm
        logits = rng.normal(0, 2, (16, 16)).astype(np.float32)
        cut.solve(logits, Region(0, 0, 80, 80), seeds, 0.5, 5.0)
