"""What a background click says about the error, and outputs that contradict it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakePredictor
from hypothesis import given
from hypothesis import strategies as st

from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.selection import EMPTY, Selection
from clickcut.session import ClickSession
from clickcut.session.correction import DEEPER, LEFT, SLACK, Correction

S = 64


def selection(shape, *boxes):
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return Selection.of(mask)


def depths(mask):
    """The distance of each pixel to the nearest one outside, slowly; pixels beyond are outside."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    found = np.zeros(mask.shape)
    for y, x in np.argwhere(mask):
        found[y, x] = np.sqrt(((outside - (y + 1, x + 1)) ** 2).sum(1)).min()
    return found


@given(
    st.integers(0, 2**32 - 1),
    st.integers(3, 40),
    st.integers(3, 40),
    st.lists(st.tuples(st.integers(-2, 44), st.integers(-2, 44)), min_size=1, max_size=3),
)
def test_depths_and_shares_at_full_resolution(seed, height, width, points):
    """Where no sample is larger than a pixel, against the slow computation."""
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.uniform(0.5, 1.0)
    mask[0, 0] = mask[-1, -1] = True
    kept = rng.random((height, width)) < rng.uniform(0, 1)
    x0, y0 = 7, 11
    moved = [(x + x0, y + y0) for x, y in points]
    correction = Correction.of(Selection.of(mask, x0, y0), moved, S)
    inside = [depths(mask)[y, x] for x, y in points if 0 <= x < width and 0 <= y < height]
    assert correction.depth == pytest.approx(max(inside, default=0), rel=0.05, abs=0.05)

    region = Region(x0, y0, x0 + width, y0 + height)
    probability = kept.astype(np.float32)
    share = (mask & kept).sum() / mask.sum()
    assert correction.finds_a_small_part(probability, region) == (share <= LEFT)
    removed = depths(mask & ~kept).max()
    allowed = DEEPER * correction.depth + SLACK
    if abs(removed - allowed) > 0.05 * removed:  # OpenCV's distances are off by 2 %
        assert correction.removes_too_much(probability, region) == (removed > allowed)


def test_nothing_is_selected_beyond_the_window():
    before = selection((100, 200), (0, 0, 200, 100))
    correction = Correction.of(before, [(30, 50)], S)
    everything = np.ones((1, 1), np.float32)
    assert not correction.removes_too_much(everything, Region(0, 0, 200, 100))
    assert correction.removes_too_much(everything, Region(0, 0, 80, 100))
    shallow = Correction.of(before, [(1, 1)], S)
    assert shallow.removes_too_much(everything, Region(0, 0, 170, 100))


def test_a_large_selection_is_sampled():
    before = selection((3000, 4000), (0, 0, 4000, 3000))
    correction = Correction.of(before, [(2000, 1500)], S)
    assert correction.selected.shape == (48, 64)
    assert correction.depth == pytest.approx(24, abs=1)


def test_without_a_selection_there_is_nothing_to_correct():
    assert Correction.of(EMPTY, [(3, 4)], S) is None


def test_a_click_beside_the_selection_removes_nothing_deep():
    before = selection((60, 60), (10, 10, 50, 50))
    correction = Correction.of(before, [(5, 5)], S)
    assert correction.depth == 0
    assert correction.removes_too_much(np.zeros((S, S), np.float32), Region(0, 0, 60, 60))


@pytest.mark.parametrize(("click", "kept"), [((58, 40), True), ((75, 60), False)])
def test_a_shallow_background_click_does_not_lose_the_object(click, kept):
    """An output of a window that is a small part of what is selected: the depth decides."""
    session = ClickSession(
        prepare_pixels(np.zeros((120, 160, 3), np.uint8)),
        FakePredictor(
            region={
                "zoom": True,
                "expansion": 1.4,
                "min_side": 16,
                "max_looks": 1,
                "narrow": 1.5,
            }
        ),
    )
    y, x = np.mgrid[:S, :S]

    def logits(shown):
        """A wide bar; in a window without a previous probability a dot around the first click."""
        if shown[4].any() and not shown[5].any():
            row, column = np.argwhere(shown[3] == 1).mean(0)
            return np.where((x - column) ** 2 + (y - row) ** 2 <= 4, 2.0, -4.0).astype(np.float32)
        return np.full((S, S), 3.0, np.float32)

    session._pipeline._predictor._logits = logits
    session.click(60, 60)
    if kept:  # a bar of 160 x 41 pixels instead of the whole image
        bar = np.zeros((120, 160), bool)
        bar[40:81] = True
        session._state = replace(session._state, selection=Selection.of(bar))
    before = session.mask.sum()
    session.click(*click, positive=False)
    assert (session.mask.sum() > before / 2) == kept
