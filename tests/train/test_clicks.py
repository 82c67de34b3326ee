"""Simulated clicks against their definitions in the paper."""

from __future__ import annotations

import cv2
import naive
import numpy as np
import pytest

from clickcut_train import clicks
from clickcut_train.clicks import MARGIN, RING_WIDTH, STEP


@pytest.fixture
def target():
    mask = np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (80, 60), (40, 25), 30, 0, 360, 1, -1)
    return mask


def distances(points):
    p = np.array(points, float)
    d = np.hypot(*(p[:, None] - p[None]).transpose(2, 0, 1))
    return d[~np.eye(len(p), dtype=bool)]


def test_depth_is_the_distance_to_the_nearest_pixel_outside():
    mask = np.zeros((12, 15), np.uint8)
    mask[2:9, 0:11] = 1
    np.testing.assert_allclose(clicks.depth(mask), naive.depth(mask), atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_positive_clicks_lie_inside_and_apart(target, seed):
    chosen = clicks.positive_clicks(target, 5, np.random.default_rng(seed))
    assert len(chosen) == 5
    assert distances(chosen).min() >= STEP
    assert all(naive.depth(target)[y, x] > MARGIN for x, y in chosen)


def test_positive_clicks_on_an_object_thinner_than_the_margin():
    thin = np.zeros((50, 50), np.uint8)
    thin[10:40, 20:23] = 1
    chosen = clicks.positive_clicks(thin, 2, np.random.default_rng(0))
    assert chosen
    assert all(thin[y, x] for x, y in chosen)


@pytest.mark.parametrize("seed", range(5))
def test_strategy_1_draws_from_the_ring(target, seed):
    chosen = clicks.negatives_in_ring(target, 10, np.random.default_rng(seed))
    outside = naive.depth(1 - target)
    assert len(chosen) == 10
    assert distances(chosen).min() >= STEP
    for x, y in chosen:
        to_object = naive.distance_to(target, x, y)
        assert MARGIN < to_object < RING_WIDTH
        assert outside[y, x] > 0


def test_strategy_2_draws_on_the_other_objects():
    others = [np.zeros((60, 60), np.uint8) for _ in range(2)]
    others[0][1:29, 1:59] = 1
    others[1][31:59, 1:59] = 1
    chosen = clicks.negatives_on_others(others, 2, np.random.default_rng(0))
    assert [sum(bool(o[y, x]) for x, y in chosen) for o in others] == [2, 2]


@pytest.mark.parametrize("seed", range(3))
def test_strategy_3_follows_equation_2(target, seed):
    small = target[::2, ::2].copy()
    chosen = clicks.negatives_around(small, 5, np.random.default_rng(seed))
    assert len(chosen) == 5
    candidates = clicks.ring(small)
    for k in range(1, 5):
        x, y = chosen[k]
        best = naive.farthest_value(candidates, chosen[:k])
        assert candidates[y, x]
        assert naive.farthest_at(candidates, chosen[:k], x, y) == pytest.approx(best, abs=1e-3)


def test_corrections_hit_the_deeper_error_beyond_half_its_depth(target):
    selected = np.zeros_like(target, bool)
    selected[0:20, 0:20] = True
    nothing = np.zeros_like(selected)
    rng = np.random.default_rng(0)
    missed = naive.depth(target.astype(bool))
    for _ in range(20):
        (x, y), positive = clicks.correction(selected, target > 0, nothing, [], rng)
        assert positive
        assert missed[y, x] > missed.max() / 2
    (x, y), positive = clicks.correction(target > 0, nothing, nothing, [], rng)
    assert not positive
    assert clicks.correction(target > 0, target > 0, nothing, [], rng) is None


def test_corrections_avoid_ignored_and_clicked_pixels(target):
    nothing = np.zeros_like(target, bool)
    only = nothing.copy()
    only[50, 50] = True
    rng = np.random.default_rng(0)
    assert clicks.correction(nothing, only, nothing, [(50, 50)], rng) is None
    assert clicks.correction(nothing, only, only, [], rng) is None
    assert clicks.correction(nothing, only, nothing, [], rng) == ((50, 50), True)
