"""Samples, seeds, unaries and weights against the slow code."""

from __future__ import annotations

import cv2
import naive_cut as naive
import numpy as np
import pytest
from cut_cases import KINDS, Problem, an_image, problems
from hypothesis import given, settings
from hypothesis import strategies as st

from clickcut.cut import EdgeWeights
from clickcut.cut.contour import sweep
from clickcut.cut.memory import PAGE, count_pages, reserve
from clickcut.cut.problem import (
    AXIS,
    DIAGONAL,
    LIMIT,
    OBJECT,
    SCALE,
    energy_of,
    make_samples,
    unaries,
)
from clickcut.cut.weights import TILE
from clickcut.region import Region


@given(problems())
@settings(max_examples=60, deadline=None)
def test_unaries(problem: Problem) -> None:
    region = problem.region
    samples = make_samples(problem.logits, region.width, region.height, problem.cut_lambda)
    assert samples is not None
    got = unaries(samples, region, problem.seeds, problem.seed_radius)
    want, _ = problem.in_integers(EdgeWeights(problem.image))
    # Both round down; they may differ by the rounding of the product before that.
    assert np.abs(got.astype(np.int64) - want).max() <= 1
    assert ((got == LIMIT) == (want == LIMIT)).all()
    assert ((got == -LIMIT) == (want == -LIMIT)).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_unaries_are_resized_as_by_opencv(width: int, height: int, side: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (side, side)).astype(np.float32)
    samples = make_samples(logits, width, height, 0.5)
    assert samples is not None
    got = unaries(samples, Region(0, 0, width, height), np.empty((0, 3), np.int32), 0.0)
    want = 0.5 * cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(got / SCALE, want, atol=2e-6)


@given(problems(most=30, samples=8))
@settings(max_examples=60, deadline=None)
def test_signs_are_those_of_the_unaries(problem: Problem) -> None:
    region = problem.region
    samples = make_samples(problem.logits, region.width, region.height, problem.cut_lambda)
    assert samples is not None
    state = np.zeros((region.height, region.width), np.uint8)
    mixed = np.empty((1000, 4), np.int32)
    count = sweep(samples, state, mixed, np.empty(samples.value.shape[1], np.uint8))
    u = unaries(samples, region, np.empty((0, 3), np.int32), 0.0)
    np.testing.assert_array_equal(state == OBJECT, u >= 0)
    inside = np.zeros(u.shape, np.bool_)
    for x0, y0, x1, y1 in mixed[:count]:
        inside[y0:y1, x0:x1] = True
    assert inside[naive.contour_of(u)].all()


def test_seeds_nearest_wins_then_latest() -> None:
    region = Region(0, 0, 9, 1)
    samples = make_samples(np.zeros((2, 2), np.float32), 9, 1, 1.0)
    assert samples is not None
    seeds = np.array([[0, 0, 1], [6, 0, -1], [6, 0, 1], [8, 0, -1]], np.int32)
    got = unaries(samples, region, seeds, 3.0)
    # 3 is as far from 0 as from 6: the later click; 7 lies between two; 6 was clicked again.
    assert np.sign(got[0]).tolist() == [1, 1, 1, 1, 1, 1, 1, -1, -1]
    assert np.sign(unaries(samples, region, seeds[:2], 3.0)[0]).tolist() == [1, 1, 1, *[-1] * 6]
    assert np.sign(unaries(samples, region, seeds, 0.0)[0]).tolist() == [1, 0, 0, 0, 0, 0, 1, 0, -1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [None, 1e-300, 0.5, 20.0, 1e6])
def test_weights(kind: str, sigma: float | None) -> None:
    image = an_image(kind, 9, 7, np.random.default_rng(5))
    edges = EdgeWeights(image, sigma)
    if sigma is None:
        assert edges.sigma == pytest.approx(naive.sigma_of(image))
    got = edges.dense(Region(0, 0, 9, 7))
    want = naive.weights_of(image, max(edges.sigma, 1e-3))
    assert np.abs(got - want * SCALE).max() <= 0.5 + 1e-6
    region = Region(2, 1, 7, 6)
    np.testing.assert_array_equal(edges.dense(region), naive.without_leaving(got, region))


def test_weights_do_not_depend_on_the_order_of_tiles() -> None:
    image = np.random.default_rng(3).integers(0, 40, (3 * TILE + 5, 2 * TILE + 1, 3), np.uint8)
    whole = Region(0, 0, image.shape[1], image.shape[0])
    at_once = EdgeWeights(image)
    in_parts = EdgeWeights(image)
    ready = np.empty(in_parts.tiles, np.uint8)
    for tile in (11, 0, 5, 5, 7):
        in_parts.ensure(np.array([tile], np.int32), ready)
        assert ready.reshape(-1)[tile] == 1
    assert ready.sum() == 4
    np.testing.assert_array_equal(at_once.dense(whole), in_parts.dense(whole))


def test_weights_take_memory_only_where_used() -> None:
    image = np.zeros((2000, 2000, 3), np.uint8)
    edges = EdgeWeights(image)
    assert edges.nbytes < 200_000
    before = edges.nbytes
    edges.dense(Region(1000, 1000, 1032, 1032))
    assert 32 * 32 * 16 <= edges.nbytes - before <= 4 * 34 * 2 * PAGE
    edges.dense(Region(0, 0, 2000, 2000))
    assert 16 * image[..., 0].size <= edges.nbytes <= 16.2 * image[..., 0].size


@pytest.mark.kernels
def test_pages() -> None:
    array = reserve(10 * PAGE)
    assert array.size == 10 * PAGE
    assert array.dtype == np.int32
    assert not array.any()
    entries = np.array([0, 1, PAGE // 4 - 1, PAGE // 4, 5 * PAGE], np.int32)
    assert count_pages(entries, np.zeros(41, np.uint8), PAGE) == 3


def test_largest_sum_fits() -> None:
    assert LIMIT > 4 * AXIS + 4 * DIAGONAL
    assert LIMIT + 2 * (4 * AXIS + 4 * DIAGONAL) < 2**31


@given(problems(most=5), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_energy(problem: Problem, seed: int) -> None:
    unary, weights = problem.in_integers(EdgeWeights(problem.image))
    mask = np.random.default_rng(seed).random(unary.shape) < 0.5
    assert energy_of(unary, weights, mask) == naive.energy(unary, weights, mask)
