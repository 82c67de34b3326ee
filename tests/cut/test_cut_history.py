"""The result never depends on what was solved before."""

from __future__ import annotations

import numpy as np
import pytest
from cut_cases import Problem, histories
from hypothesis import given, settings

from clickcut.cut import SOLVERS, Cut, EdgeWeights, grid
from clickcut.region import Region

LITTLE = {"FIRST_ROOM": 8, "FEW": 0, "STALE": 1, "SPARE": 1, "OLD": 3}


def replay(history: list[Problem]) -> None:
    edges = EdgeWeights(history[0].image)
    warm = {solver: Cut(edges, solver) for solver in SOLVERS}
    for problem in history:
        cold = problem.solve(Cut(EdgeWeights(problem.image), "pymaxflow"))
        for cut in warm.values():
            np.testing.assert_array_equal(problem.solve(cut), cold)


@pytest.mark.slow
@given(histories())
@settings(max_examples=250, deadline=None)
def test_replay(history: list[Problem]) -> None:
    replay(history)


@pytest.mark.slow
@given(histories(most=90))
@settings(max_examples=50, deadline=None)
def test_replay_with_little_room(history: list[Problem]) -> None:
    """The search is interrupted often, nodes are removed often and graphs moved in memory."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in LITTLE.items():
            patch.setattr(grid, name, value)
        replay(history)


@given(histories(most=40, steps=3))
@settings(max_examples=30, deadline=None)
def test_reset_changes_no_result(history: list[Problem]) -> None:
    edges = EdgeWeights(history[0].image)
    for solver in SOLVERS:
        cut, again = Cut(edges, solver), Cut(edges, solver)
        for problem in history:
            mask = problem.solve(cut)
            again.reset()
            np.testing.assert_array_equal(problem.solve(again), mask)
            np.testing.assert_array_equal(problem.solve(cut), mask)


@pytest.mark.parametrize("name", ["missing_tiles", "find_contour", "start_search", "carry"])
def test_an_interrupted_cut_begins_anew(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Also between the request for tiles of weights and their computation."""
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    rng = np.random.default_rng(1)
    problems = [
        (
            rng.normal(0, 1, (16, 16)).astype(np.float32),
            Region(n, 2 * n, 120, 90),
            np.array([[60, 45, 1]], np.int32),
            0.5,
            3.0,
        )
        for n in range(3)
    ]
    cut = Cut(EdgeWeights(image))
    cut.solve(*problems[0])
    work = getattr(grid, name)

    def interrupted(*arguments: object) -> object:
        work(*arguments)
        monkeypatch.setattr(grid, name, work)
        raise KeyboardInterrupt

    if name == "missing_tiles":  # all weights are there by now
        cut = Cut(EdgeWeights(image))
    monkeypatch.setattr(grid, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut.solve(*problems[1])
    for problem in problems:
        expected = Cut(EdgeWeights(image), "pymaxflow").solve(*problem)
        np.testing.assert_array_equal(cut.solve(*problem), expected)


@pytest.mark.slow
def test_flow_of_long_ago_is_forgotten() -> None:
    """An outline that sweeps over the image leaves flow everywhere, but it is forgotten."""
    image = np.random.default_rng(0).integers(100, 110, (400, 600, 3), np.uint8)
    warm, region = Cut(EdgeWeights(image)), Region(0, 0, 600, 400)
    none, slope = np.empty((0, 3), np.int32), np.linspace(-9, 9, 64, dtype=np.float32)
    largest, largest_cold = 0, 0
    for n in range(80):
        noise = np.random.default_rng(n).normal(0, 0.6, (64, 64))
        logits = (slope + 0.22 * (40 - n) + noise).astype(np.float32)
        mask = warm.solve(logits, region, none, 0.1, 0.0)
        cold = Cut(EdgeWeights(image))
        np.testing.assert_array_equal(mask, cold.solve(logits, region, none, 0.1, 0.0))
        largest, largest_cold = max(largest, warm.nbytes), max(largest_cold, cold.nbytes)
    assert largest < 5 * largest_cold  # 7 times, and growing, if nothing were forgotten
