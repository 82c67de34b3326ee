"""The result never depends on what was solved before."""

from __future__ import annotations

import numpy as np
import pytest
from cut_cases import Problem, histories
from hypothesis import given, settings

from clickcut.cut import SOLVERS, Cut, EdgeWeights, grid


def replay(history: list[Problem]) -> None:
    edges = EdgeWeights(history[0].image)
    warm = {solver: Cut(edges, solver) for solver in SOLVERS}
    for problem in history:
        cold = problem.solve(Cut(EdgeWeights(problem.image), "pymaxflow"))
        for cut in warm.values():
            np.testing.assert_array_equal(problem.solve(cut), cold)


@given(histories())
@settings(max_examples=250, deadline=None)
def test_replay(history: list[Problem]) -> None:
    replay(history)


@given(histories(most=90))
@settings(max_examples=50, deadline=None)
def test_replay_with_little_room(history: list[Problem]) -> None:
    """The search is interrupted often, nodes are removed often and graphs moved in memory."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FIRST_ROOM": 8, "FEW": 0, "STALE": 1, "SPARE": 1}.items():
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
