"""Numbers of a table from the course of each object."""

from __future__ import annotations

import numpy as np
import pytest

from clickcut_eval.metrics import Outcome, curves, interval, summary


def outcome(name, ious):
    return Outcome(name, ious, [(0, 0, True)] * len(ious), [0.1] * len(ious), 0.5)


def test_clicks_to_a_target():
    o = outcome("a", [0.5, 0.86, 0.8, 0.95])
    assert [o.clicks_to(t) for t in (0.5, 0.85, 0.9, 0.99)] == [1, 2, 4, 20]
    assert o.clicks_to(0.9, max_clicks=3) == 3
    assert o.reaches(0.95)
    assert not o.reaches(0.96)


def test_curves_carry_the_last_iou_on():
    assert curves([outcome("a", [0.5, 0.9])], 4).tolist() == [[0.5, 0.9, 0.9, 0.9]]


def test_failures_count_as_20_clicks():
    result = summary([outcome("a", [0.5, 0.95]), outcome("b", [0.2] * 20)], 0.9)
    assert result["mean_clicks"] == result["noc90"] == 11
    assert result["never_reached"] == result["nof85"] == 1
    assert result["iou_after"] == pytest.approx([0.35, 0.575, 0.575, 0.575])
    assert result["final_iou"] == pytest.approx(0.575)
    assert result["area_under"] == pytest.approx((0.35 + 19 * 0.575) / 20)
    assert result["seconds_per_click"] == pytest.approx(0.1)
    assert result["seconds_per_image"] == pytest.approx(0.5)


def test_what_lies_above_the_iou_that_users_stopped_at_is_not_known():
    outcomes = [outcome("a", [0.5, 0.92]), outcome("b", [0.96])]
    stopped, complete = summary(outcomes, 0.9, stop_at=0.9), summary(outcomes, 0.9)
    assert stopped["noc90"] == complete["noc90"] == 1.5
    assert (stopped["noc95"], stopped["nof95"], stopped["final_iou"]) == (None, None, None)
    assert (complete["noc95"], complete["nof95"]) == (10.5, 1)
    assert complete["final_iou"] == pytest.approx(0.94)


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = interval(values)
    # Twice the standard error on each side, for so many values.
    assert (low, high) == pytest.approx((values.mean() - 0.2, values.mean() + 0.2), abs=0.03)
    both = interval(np.stack([values, 2 * values], 1))
    np.testing.assert_allclose(both, np.stack([[low, high], [2 * low, 2 * high]], 1))
    assert interval([3.0, 3.0]).tolist() == [3, 3]
