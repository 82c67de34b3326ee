"""The simulated user, click by click against the protocol's words."""

from __future__ import annotations

import cv2
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from clickcut_eval.clicker import Clicker, depth

small = arrays(np.bool_, (8, 11))


def next_by_the_rules(missed, excess, taken):
    """First maximum, row by row, of the deeper of the two maps; None where nothing is left."""
    for x, y in taken:
        missed[y, x] = excess[y, x] = 0
    if max(missed.max(), excess.max()) == 0:
        return None
    positive = missed.max() > excess.max()
    error = np.round(missed if positive else excess, 4)
    y, x = divmod(int(np.argmax(error)), error.shape[1])
    return x, y, bool(positive)


@settings(deadline=None)
@given(small, small, small)
def test_deepest(mask, ignore, selected):
    clicker, taken = Clicker(mask, ignore), []
    for _ in range(4):
        expected = next_by_the_rules(
            naive.depth(mask & ~ignore & ~selected), naive.depth(~mask & ~ignore & selected), taken
        )
        assert clicker.next_click(selected) == expected
        if expected is None:
            return
        taken.append(expected[:2])


@settings(deadline=None)
@given(small, small, small)
def test_xu2016_measures_from_the_selection_and_the_border(mask, ignore, selected):
    clicker, taken = Clicker(mask, ignore, "xu2016"), []
    for _ in range(4):
        expected = next_by_the_rules(
            naive.depth(~selected) * (mask & ~ignore & ~selected),
            naive.depth(selected) * (~mask & ~ignore & selected),
            taken,
        )
        assert clicker.next_click(selected) == expected
        if expected is None:
            return
        taken.append(expected[:2])


def test_equally_deep_pixels_are_equally_deep_to_the_last_bit(monkeypatch):
    """Wherever the answer lies in memory: OpenCV rounds differently there, on one thread."""
    noise = np.random.default_rng(0).random((483, 323)).astype(np.float32)
    region = cv2.GaussianBlur(noise, (0, 0), 9) > 0.5
    squares = np.rint(depth(region).astype(float) ** 2)
    original, threads = cv2.distanceTransform, cv2.getNumThreads()
    size = 485 * 325
    room = np.zeros(size + 16, np.float32)
    try:
        cv2.setNumThreads(1)
        for offset in range(16):
            place = room[offset : offset + size].reshape(485, 325)
            monkeypatch.setattr(
                cv2, "distanceTransform", lambda mask, *kind, at=place: original(mask, *kind, at)
            )
            np.testing.assert_array_equal(depth(region), np.sqrt(squares.astype(np.float32)))
    finally:
        cv2.setNumThreads(threads)


def test_the_rules_differ_where_the_objects_own_boundary_counts():
    mask = np.zeros((40, 40), bool)
    mask[2:12, 2:12] = mask[20, 10:30] = True
    nothing = np.zeros_like(mask)
    x, y, _ = Clicker(mask, nothing).next_click(nothing)
    assert y in (6, 7)
    assert x in (6, 7)
    x, y, _ = Clicker(mask, nothing, "xu2016").next_click(nothing)
    assert y == 20  # a line far from the border, though it is one pixel thin


@given(small, small, small)
def test_iou_leaves_ignored_pixels_out(mask, ignore, selected):
    pairs = [(m, s) for m, i, s in zip(mask.flat, ignore.flat, selected.flat, strict=True) if not i]
    union = sum(bool(m or s) for m, s in pairs)
    expected = sum(bool(m and s) for m, s in pairs) / union if union else 1.0
    assert Clicker(mask, ignore).iou(selected) == pytest.approx(expected)
