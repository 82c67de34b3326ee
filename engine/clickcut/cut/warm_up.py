"""Compile every kernel before the first click, or load it from the cache."""

from __future__ import annotations

import numpy as np

from clickcut.cut.cut import Cut
from clickcut.cut.problem import make_samples, unaries
from clickcut.cut.weights import EdgeWeights
from clickcut.region import Region


def warm_up(solver: str = "grid") -> None:
    """Solve a small problem in all ways, with the argument types of real problems.

    Takes some seconds when the kernels are not in the cache (see `clickcut.kernels`).

    Args:
        solver: one of `SOLVERS`.

    Raises:
        CutError: the solver is unknown or not installed.
    """
    rng = np.random.default_rng(0)
    edges = EdgeWeights(rng.integers(0, 30, (80, 80, 3), np.uint8))
    cut = Cut(edges, solver)
    seeds = np.array([[10, 10, 1], [70, 70, -1]], np.int32)
    whole = Region(0, 0, 80, 80)
    for region in (whole, whole, Region(8, 8, 72, 72)):  # cold, warm, moved
        logits = rng.normal(0, 2, (16, 16)).astype(np.float32)
        cut.solve(logits, region, seeds, 0.5, 5.0)
    _ = cut.nbytes
    samples = make_samples(logits, 80, 80, 1.0)
    if samples is not None:
        unaries(samples, whole, seeds, 5.0)  # for solvers of the full problem
