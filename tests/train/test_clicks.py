"""Simulated clicks against their definitions in the paper."""

from __future__ import annotations

import cv2
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickcut_train import clicks
from clickcut_train.clicks import AROUND, MARGIN, RING_WIDTH, STEP

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


@st.composite
def masks(draw, shape=(28, 34), shapes=2):
    """Unions of a few ellipses and boxes, now and then empty."""
    out = np.zeros(shape, np.uint8)
    for _ in range(draw(st.integers(0, shapes))):
        x, y = draw(st.integers(0, shape[1] - 1)), draw(st.integers(0, shape[0] - 1))
        a, b = draw(st.integers(0, 14)), draw(st.integers(0, 14))
        if draw(st.booleans()):
            cv2.ellipse(out, (x, y), (a, b), draw(st.integers(0, 179)), 0, 360, 1, -1)
        else:
            out[y : y + b + 1, x : x + a + 1] = 1
    return out


@pytest.fixture
def target():
    mask = np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (80, 60), (40, 25), 30, 0, 360, 1, -1)
    return mask


def nothing(mask):
    return np.zeros(mask.shape, bool)


def distances(points):
    p = np.array(points, float)
    d = np.hypot(*(p[:, None] - p[None]).transpose(2, 0, 1))
    return d[~np.eye(len(p), dtype=bool)]


def assert_spread(chosen, allowed, count, step):
    """All allowed, `step` apart, and as many as asked for unless no further pixel is free."""
    assert len(chosen) <= count
    assert all(allowed[y, x] for x, y in chosen)
    if len(chosen) > 1:
        assert distances(chosen).min() >= step
    if len(chosen) < count:
        for y, x in np.argwhere(allowed):
            assert any((x - cx) ** 2 + (y - cy) ** 2 < step**2 for cx, cy in chosen)


@few
@given(masks())
def test_depth_is_the_distance_to_the_nearest_pixel_outside(mask):
    np.testing.assert_allclose(clicks.depth(mask), naive.depth(mask), atol=1e-4)


@few
@given(masks(), st.integers(1, 5), st.integers(1, 9), st.integers(1, 6), seeds)
def test_positive_clicks(mask, count, step, margin, seed):
    chosen = clicks.positive_clicks(mask, count, np.random.default_rng(seed), step, margin)
    assert_spread(chosen, naive.click_pixels(mask, margin), count, step)


@few
@given(masks(), masks(), st.integers(0, 10), st.integers(3, 16), st.integers(1, 4), seeds)
def test_strategy_1_draws_in_the_ring(mask, ignored, count, width, margin, seed):
    ignore = (ignored > 0) & (mask == 0)
    rng = np.random.default_rng(seed)
    chosen = clicks.negatives_in_ring(mask, ignore, count, rng, width, STEP, margin)
    assert_spread(chosen, naive.ring(mask, ignore, width, margin), count, STEP)


@few
@given(st.lists(masks(), max_size=3), st.integers(0, 5), seeds)
def test_strategy_2_draws_on_every_other_object(others, most, seed):
    """The clicks are those of each object in turn, each drawn as positive ones are."""
    chosen = clicks.negatives_on_others(others, most, np.random.default_rng(seed))
    again = np.random.default_rng(seed)
    for other in others:
        count = int(again.integers(0, most + 1))
        drawn = clicks.spread_pixels(naive.click_pixels(other, MARGIN), count, again)
        assert chosen[: len(drawn)] == drawn
        assert len(drawn) <= most
        chosen = chosen[len(drawn) :]
    assert not chosen


@few
@given(masks((20, 24)), masks((20, 24), 1), st.integers(1, 5), st.integers(2, 14), seeds)
def test_strategy_3_follows_equation_2(mask, ignored, count, width, seed):
    ignore = (ignored > 0) & (mask == 0)
    rng = np.random.default_rng(seed)
    chosen = clicks.negatives_around(mask, ignore, count, rng, width)
    free = naive.surroundings(mask, width) & ~ignore
    assert len(chosen) == min(count, int(free.sum()))
    assert len(set(chosen)) == len(chosen)
    for k, (x, y) in enumerate(chosen):
        assert free[y, x]
        if k:
            _, best = naive.farthest(mask, ignore, width, chosen[:k])
            assert (x, y) in best


def test_the_paper_s_counts_are_reached_on_a_roomy_object(target):
    rng = np.random.default_rng(0)
    assert len(clicks.positive_clicks(target, 5, rng)) == 5
    ring = clicks.negatives_in_ring(target, nothing(target), 10, rng)
    around = clicks.negatives_around(target, nothing(target), AROUND, rng)
    assert len(ring) == len(around) == 10
    for x, y in ring:
        assert MARGIN <= naive.distance_to(target, x, y) < RING_WIDTH
    for x, y in around:
        assert 0 < naive.distance_to(target, x, y) < RING_WIDTH


def test_strategy_3_surrounds_the_object(target):
    """After ten clicks no direction from the centre has a gap of more than a third of a turn."""
    for seed in range(5):
        chosen = clicks.negatives_around(
            target, nothing(target), AROUND, np.random.default_rng(seed)
        )
        angles = np.sort([np.arctan2(y - 60, x - 80) for x, y in chosen])
        gaps = np.diff([*angles, angles[0] + 2 * np.pi])
        assert gaps.max() < 2 * np.pi / 3


def test_clicks_are_uniform_over_what_is_allowed():
    allowed = np.zeros((4, 5), bool)
    allowed[1, 1] = allowed[3, 4] = allowed[0, 2] = True
    rng = np.random.default_rng(0)
    counts: dict[tuple[int, int], int] = {}
    for _ in range(900):
        pixel = clicks.random_pixel(allowed, rng)
        counts[pixel] = counts.get(pixel, 0) + 1
    assert set(counts) == {(1, 1), (4, 3), (2, 0)}
    assert all(abs(c - 300) < 60 for c in counts.values())


def test_every_pixel_within_the_margin_of_a_thin_object_is_out_of_reach():
    thin = np.zeros((50, 50), np.uint8)
    thin[10:40, 20:23] = 1
    chosen = clicks.positive_clicks(thin, 2, np.random.default_rng(0))
    assert len(chosen) == 2
    assert all(x == 21 for x, _ in chosen)  # the middle line: its inner half


# ---- corrections


@few
@given(masks(), masks(), masks(shapes=1), seeds)
def test_corrections_are_deeper_than_half_of_the_worse_error(mask, selection, ignored, seed):
    target, selected = mask > 0, selection > 0
    ignore = (ignored > 0) & ~target
    taken = [(3, 4), (20, 10)]
    click = clicks.correction(selected, target, ignore, taken, np.random.default_rng(seed))
    allowed, positive = naive.correction_pixels(selected, target, ignore, taken)
    if click is None:
        assert not allowed
        return
    pixel, sign = click
    assert sign == positive
    assert pixel in allowed
    assert pixel not in taken


def test_corrections_are_random_not_the_deepest_pixel(target):
    rng = np.random.default_rng(0)
    places = {
        clicks.correction(nothing(target), target > 0, nothing(target), [], rng)[0]
        for _ in range(30)
    }
    assert len(places) > 20


def test_nothing_wrong_needs_no_correction(target):
    rng = np.random.default_rng(0)
    none = nothing(target)
    assert clicks.correction(target > 0, target > 0, none, [], rng) is None
    only = none.copy()
    only[50, 50] = True
    assert clicks.correction(none, only, none, [(50, 50)], rng) is None
    assert clicks.correction(none, only, only, [], rng) is None
    assert clicks.correction(none, only, none, [], rng) == ((50, 50), True)
