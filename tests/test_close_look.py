"""Small objects: windows around a first click, and windows that background clicks bound."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakePredictor
from hypothesis import given
from hypothesis import strategies as st

from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.session import ClickSession, correction
from clickcut.session.close_look import bounded_window, shows_whole_object

ONE_LOOK = {"zoom": True, "expansion": 1.4, "min_side": 32, "max_looks": 1}
"""A region policy with one network pass for each click."""

WIDTH, HEIGHT = 160, 120
points = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1))


def blob(row, column):
    y, x = np.mgrid[:64, :64]
    return np.where((x - column) ** 2 + (y - row) ** 2 <= 2**2, 2.0, -4.0).astype(np.float32)


@pytest.mark.parametrize(
    ("first", "close", "passes", "side"),
    [
        (0.3, 2.0, 2, 84),  # unsure of everything, then a blob in the closest window
        (3.0, 2.0, 1, 1200),  # sure
        (0.3, -1.0, 4, 1200),  # unsure, and the windows show nothing that is small and alone
    ],
)
def test_a_small_object_in_a_large_image_is_seen_close(first, close, passes, side):
    session = ClickSession(
        prepare_pixels(np.zeros((900, 1200, 3), np.uint8)), FakePredictor(region=ONE_LOOK)
    )
    predictor = session._pipeline._predictor

    def logits(x):
        if len(predictor.batches) == 1:
            return np.full((64, 64), first, np.float32)
        row, column = np.argwhere(x[3] == 1).mean(0)
        return blob(row, column) if close > 0 else np.full((64, 64), 0.2, np.float32)

    predictor._logits = logits
    session.click(700, 500)
    assert len(predictor.batches) == passes
    assert session.probability[0].width == side
    assert session.mask[500, 700]
    assert (session.mask.sum() < 200) == (side == 84)


@given(st.lists(points, min_size=1, max_size=4), st.lists(points, max_size=4))
def test_a_bounded_window_holds_the_object_and_the_nearest_background_click(positive, negative):
    window = bounded_window(WIDTH, HEIGHT, positive, negative, 1.5, 16)
    left, top = np.min(positive, axis=0)
    right, bottom = np.max(positive, axis=0)
    beside = [(x, y) for x, y in negative if not (left <= x <= right and top <= y <= bottom)]
    if not negative or len(beside) < len(negative):
        assert window is None
        return
    assert Region(0, 0, WIDTH, HEIGHT).contains(window)
    assert all(window.holds(x, y) for x, y in positive)
    assert any(window.holds(x, y) for x, y in negative)
    distances = [max(left - x, x - right, top - y, y - bottom) for x, y in negative]
    side = max(16, max(right - left + 1, bottom - top + 1) + 3 * min(distances))
    assert (window.width, window.height) == (min(side, WIDTH), min(side, HEIGHT))


def square(row, column, side):
    probability = np.zeros((64, 64), np.float32)
    probability[row : row + side, column : column + side] = 0.9
    return probability


@pytest.mark.parametrize(
    ("probability", "region", "expected"),
    [
        (square(28, 28, 8), Region(40, 40, 104, 104), True),
        (square(0, 0, 8), Region(40, 40, 104, 104), False),  # not at the click
        (square(10, 10, 44), Region(40, 40, 104, 104), False),  # too much of the window
        (square(30, 30, 34), Region(40, 40, 104, 104), False),  # goes on beyond it
        (square(30, 30, 34), Region(96, 56, 160, 120), True),  # ends where the image does
    ],
)
def test_an_object_that_ends_inside_the_window(probability, region, expected):
    click = (region.x0 + 32, region.y0 + 32)
    assert shows_whole_object(probability, region, [click], WIDTH, HEIGHT) == expected


@pytest.mark.parametrize(("narrow", "found"), [(0.0, True), (1.5, True), (1.5, False)])
def test_a_background_click_bounds_the_object(narrow, found):
    session = ClickSession(
        prepare_pixels(np.zeros((120, 160, 3), np.uint8)),
        FakePredictor(region=ONE_LOOK | {"min_side": 16, "narrow": narrow}),
    )
    predictor = session._pipeline._predictor

    def logits(x):
        """Much too large, until a window without a previous probability is shown."""
        alone = x[4].any() and not x[5].any()
        row, column = np.argwhere(x[3] == 1).mean(0)
        return blob(row, column) if alone and found else np.full((64, 64), 3.0, np.float32)

    predictor._logits = logits
    session.click(60, 60)
    session.click(75, 60, positive=False)
    assert len(predictor.batches) == (3 if narrow and not found else 2)
    region, _ = session.probability
    assert (region.width == 46) == (session.mask.sum() < 200) == bool(narrow and found)
    mask = session.mask.copy()
    session.undo()
    session.redo()
    np.testing.assert_array_equal(session.mask, mask)


def test_an_object_in_a_window_is_averaged_as_well():
    session = ClickSession(
        prepare_pixels(np.zeros((120, 160, 3), np.uint8)),
        FakePredictor(region=ONE_LOOK | {"min_side": 16, "narrow": 1.5, "mirror": True}),
    )
    predictor = session._pipeline._predictor

    def logits(x):
        """Much too large, until the network does not see that the whole image was selected."""
        row, column = np.argwhere(x[3] == 1).mean(0)
        found = x[4].any() and x[5].mean() < 0.5
        return blob(row, column) if found else np.full((64, 64), 3.0, np.float32)

    predictor._logits = logits
    session.click(60, 60)
    before = len(predictor.batches)
    session.click(75, 60, positive=False)
    window, mirrored = (batch[0] for batch in predictor.batches[before:])
    np.testing.assert_array_equal(mirrored[:5], window[:5, :, ::-1])
    assert not window[5].any()
    assert mirrored[5].any()
    assert 0 < session.mask.sum() < 200


def test_an_object_in_the_window_must_hold_all_clicks():
    region = Region(40, 40, 104, 104)
    clicks = [(72, 72), (60, 72)]
    assert shows_whole_object(square(28, 18, 20), region, clicks, WIDTH, HEIGHT)
    assert not shows_whole_object(square(28, 28, 8), region, clicks, WIDTH, HEIGHT)


def test_a_background_click_further_away_bounds_nothing_new(monkeypatch):
    """A late click elsewhere must not make the network see the object without what is known."""
    monkeypatch.setattr(correction, "SLACK", 1000)  # or the last click would be too shallow
    session = ClickSession(
        prepare_pixels(np.zeros((120, 160, 3), np.uint8)),
        FakePredictor(region=ONE_LOOK | {"min_side": 16, "narrow": 1.5}),
    )
    predictor = session._pipeline._predictor
    predictor._logits = lambda x: np.full((64, 64), 3.0, np.float32)
    session.click(60, 60)
    session.click(75, 60, positive=False)
    assert len(predictor.batches) == 3
    session.click(100, 60, positive=False)
    assert len(predictor.batches) == 4
    session.click(70, 60, positive=False)
    assert len(predictor.batches) == 6


@pytest.mark.parametrize("begin", ["mask", "box"])
def test_windows_do_not_overrule_a_mask_or_box_that_the_session_began_with(begin):
    session = ClickSession(
        prepare_pixels(np.zeros((120, 160, 3), np.uint8)),
        FakePredictor(region=ONE_LOOK | {"min_side": 16, "narrow": 1.5}),
    )
    if begin == "mask":
        session.start_from(np.pad(np.ones((60, 80), bool), ((30, 30), (40, 40))))
    else:
        session.box(40, 30, 119, 89)
    session.click(60, 60)
    predictor = session._pipeline._predictor
    made = len(predictor.batches)
    session.click(75, 60, positive=False)
    assert len(predictor.batches) == made + 1
