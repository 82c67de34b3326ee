"""Both solvers against independent ones: the mask, not only the energy, must be the same."""

from __future__ import annotations

import maxflow
import naive_cut as naive
import numpy as np
import pytest
from cut_cases import KINDS, LAMBDAS, Problem, an_image, problems, some_logits
from hypothesis import assume, given, settings

from clickcut.cut import SOLVERS, Cut, EdgeWeights
from clickcut.cut.problem import SCALE, energy_of, make_samples, unaries
from clickcut.region import Region

NO_SEEDS = np.empty((0, 3), np.int32)


def integers(problem: Problem, edges: EdgeWeights) -> tuple[np.ndarray, np.ndarray]:
    region = problem.region
    samples = make_samples(problem.logits, region.width, region.height, problem.cut_lambda)
    assert samples is not None
    unary = unaries(samples, region, problem.seeds, problem.seed_radius)
    return unary, edges.dense(region)


@given(problems(most=4))
@settings(max_examples=80, deadline=None)
def test_all_masks_of_tiny_problems(problem: Problem) -> None:
    assume(problem.region.area <= 12)
    edges = EdgeWeights(problem.image)
    best, _ = naive.best_of_all(*integers(problem, edges))
    for solver in SOLVERS:
        np.testing.assert_array_equal(problem.solve(Cut(edges, solver)), best)


@given(problems(most=7))
@settings(max_examples=40, deadline=None)
def test_naive_max_flow(problem: Problem) -> None:
    edges = EdgeWeights(problem.image)
    best = naive.largest_minimum_cut(*integers(problem, edges))
    for solver in SOLVERS:
        np.testing.assert_array_equal(problem.solve(Cut(edges, solver)), best)


@given(problems(most=40))
@settings(max_examples=150, deadline=None)
def test_cold_pymaxflow(problem: Problem) -> None:
    edges = EdgeWeights(problem.image)
    best = naive.pymaxflow(*integers(problem, edges), maxflow.GraphInt)
    for solver in SOLVERS:
        np.testing.assert_array_equal(problem.solve(Cut(edges, solver)), best)


@given(problems(most=30, samples=8))
@settings(max_examples=60, deadline=None)
def test_energy_of_the_optimum_in_floats(problem: Problem) -> None:
    """Rounding to integers costs less than 1e-6 of the energy."""
    region = problem.region
    edges = EdgeWeights(problem.image)
    mask = problem.solve(Cut(edges))
    z = naive.logits_at_pixels(problem.logits, region.width, region.height)
    signs = naive.seed_signs(problem.seeds, region, problem.seed_radius)
    unary = np.where(signs == 0, problem.cut_lambda * z, 8.0 * signs)
    weights = naive.without_leaving(naive.weights_of(problem.image, edges.sigma), region)
    best = naive.pymaxflow(unary, weights, maxflow.GraphFloat)
    # -log q and -log(1 - q) of equation 4: the unaries and the constant they leave out.
    constant = problem.cut_lambda * np.logaddexp(0, z[signs == 0]).sum()
    constant += np.maximum(unary[signs != 0], 0).sum()
    optimum = naive.energy(unary, weights, best) + constant
    assert naive.energy(unary, weights, mask) + constant <= optimum * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut_lambda", LAMBDAS)
@pytest.mark.parametrize("logits", ["normal", "ties", "zero", "one sign"])
@pytest.mark.parametrize("side", [3, 60])
def test_adversarial(kind: str, cut_lambda: float, logits: str, side: int) -> None:
    """Ties, no unaries, flat images, checkerboards, long snakes; few samples and many."""
    rng = np.random.default_rng(11)
    image = an_image(kind, 70, 50, rng)
    edges = EdgeWeights(image)
    seeds = np.array([[10, 10, 1], [55, 40, -1], [14, 10, -1]], np.int32)
    problem = Problem(
        image, some_logits(rng, logits, side), Region(0, 0, 70, 50), seeds, cut_lambda, 5.0
    )
    grid, full = (problem.solve(Cut(edges, solver)) for solver in SOLVERS)
    np.testing.assert_array_equal(grid, full)


def test_a_snake_is_followed_to_its_end() -> None:
    """One seed, a path of 1,300 pixels without contrast, walls of high contrast around it."""
    image = an_image("snake", 51, 51, np.random.default_rng(0))
    edges = EdgeWeights(image, sigma=5.0)
    seeds = np.array([[0, 0, 1], [1, 1, -1]], np.int32)
    logits = np.full((2, 2), -1e-5, np.float32)
    grid, full = (
        Cut(edges, s).solve(logits, Region(0, 0, 51, 51), seeds, 1.0, 0.0) for s in SOLVERS
    )
    np.testing.assert_array_equal(grid, full)
    assert grid[50, 50]
    np.testing.assert_array_equal(grid, image[..., 0] == 30)


def test_hard_constraints_on_every_pixel() -> None:
    image = an_image("noise", 20, 10, np.random.default_rng(0))
    region = Region(0, 0, 20, 10)
    logits = np.random.default_rng(1).normal(0, 5, (8, 8)).astype(np.float32)
    for solver in SOLVERS:
        cut = Cut(EdgeWeights(image), solver)
        for sign in (1, -1):
            seeds = np.array([[10, 5, sign]], np.int32)
            mask = cut.solve(logits, region, seeds, 1.0, 40.0)
            assert mask.all() if sign > 0 else not mask.any()


def test_without_unaries_everything_that_ties_is_object() -> None:
    edges = EdgeWeights(an_image("flat", 12, 9, np.random.default_rng(0)))
    region = Region(0, 0, 12, 9)
    logits = np.full((4, 4), -3, np.float32)
    for solver in SOLVERS:
        cut = Cut(edges, solver)
        assert cut.solve(logits, region, NO_SEEDS, 0.0, 5.0).all()
        assert not cut.solve(logits, region, np.array([[3, 3, -1]], np.int32), 0.0, 5.0).any()
        assert cut.solve(logits, region, np.array([[3, 3, 1]], np.int32), 0.0, 5.0).all()


def test_one_unit_decides() -> None:
    """A unary that equals the weights around it ties: object. One unit less: background."""
    image = np.zeros((1, 2, 3), np.uint8)
    edges = EdgeWeights(image)
    seeds = np.array([[1, 0, -1]], np.int32)
    for solver in SOLVERS:
        for lost, is_object in ((0, True), (2**-20, False)):
            logits = np.full((1, 1), 1 - lost, np.float32)
            mask = Cut(edges, solver).solve(logits, Region(0, 0, 2, 1), seeds, 1.0, 0.0)
            assert mask[0].tolist() == [is_object, False]


def test_energy_units() -> None:
    unary = np.array([[SCALE, -SCALE]], np.int32)
    weights = np.array([[[SCALE // 2, 0, 0, 0], [0, 0, 0, 0]]], np.int32)
    assert energy_of(unary, weights, np.array([[True, False]])) == -SCALE // 2
