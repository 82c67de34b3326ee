"""Positions, strokes, and which clicks are in force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickcut.clicks import PlacedClick
from clickcut.errors import EventError
from clickcut.session.coordinates import stroke_pixels, to_pixel
from clickcut.session.events import (
    Click,
    InitialMask,
    Prompts,
    Reset,
)


@pytest.mark.parametrize(
    ("x", "y", "pixel"),
    [(0, 0, (0, 0)), (-0.5, -0.5, (0, 0)), (0.49, 0.5, (0, 1)), (9.49, 4.49, (9, 4))],
)
def test_a_position_belongs_to_the_pixel_around_it(x, y, pixel):
    assert to_pixel(x, y, 10, 5) == pixel


@pytest.mark.parametrize("at", [(-0.51, 0), (9.5, 0), (0, 4.5), (1e9, 0), (0, -3)])
def test_positions_outside_are_refused_with_the_valid_range(at):
    with pytest.raises(EventError, match=r"x in 0\.\.9 and y in 0\.\.4"):
        to_pixel(*at, 10, 5)


@pytest.mark.parametrize("at", [(float("nan"), 0), (0, float("inf")), (-float("inf"), 0)])
def test_positions_that_are_not_finite_are_refused(at):
    with pytest.raises(EventError, match="finite"):
        to_pixel(*at, 10, 5)


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 29)), min_size=1, max_size=6))
def test_a_stroke_is_connected_and_passes_its_corners(corners):
    pixels = stroke_pixels(np.array(corners, np.float64), 40, 30, 10_000)
    assert len(set(pixels)) == len(pixels)
    assert set(corners) <= set(pixels)
    near = {(x + dx, y + dy) for x, y in pixels for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
    grid = np.zeros((30, 40), bool)
    for x, y in pixels:
        grid[y, x] = True
    import cv2

    assert cv2.connectedComponents(grid.astype(np.uint8))[0] == 2
    assert near >= set(pixels)


@pytest.mark.parametrize("shape", [(0, 2), (3,), (3, 3)])
def test_strokes_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(EventError, match=r"\(N, 2\)"):
        stroke_pixels(np.zeros(shape), 10, 10, 100)


def test_long_strokes_are_refused():
    zigzag = np.array([(k % 2 * 999, k) for k in range(100)], np.float64)
    with pytest.raises(EventError, match="longer than 2000 pixels"):
        stroke_pixels(zigzag, 1000, 1000, 500)
    with pytest.raises(EventError, match="more than 500 pixels"):
        stroke_pixels(zigzag[:2], 1000, 1000, 500)


def test_a_stroke_that_goes_to_and_fro_is_bounded_by_its_length():
    line = np.array([(k % 2 * 999, 5) for k in range(1000)], np.float64)
    with pytest.raises(EventError, match="longer than 8000 pixels"):
        stroke_pixels(line, 1000, 1000, 2000)
    assert len(stroke_pixels(line[:9], 1000, 1000, 2000)) == 1000


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308, 2.0**63, 2.0**31])
def test_strokes_of_impossible_coordinates_are_refused(value):
    for corner in ((value, 1.0), (1.0, value)):
        with pytest.raises(EventError, match=r"finite|outside"):
            stroke_pixels(np.array([(1.0, 1.0), corner]), 10, 10, 100)


def test_the_last_click_on_a_pixel_decides():
    events = [Click.of([(1, 1), (2, 2)], True), Click.of([(1, 1)], False)]
    assert Prompts.of(events).points == {(2, 2): True, (1, 1): False}


def test_reset_and_initial_mask_take_earlier_clicks_away():
    click = Click.of([(1, 1)], True)
    for event in (Reset(), InitialMask(np.zeros(1, np.uint8))):
        start = event if isinstance(event, InitialMask) else None
        assert Prompts.of([click, event]) == Prompts(start)
        assert Prompts.of([click, event, click]) == Prompts(start, clicks=(click,))


def test_a_click_holds_its_points_in_eight_bytes_each():
    points = [(k, 31_999 - k) for k in range(1000)]
    click = Click.of(points, False)
    assert click.points == points
    assert click.num_points == 1000
    assert click.nbytes < 8 * 1000 + 200
    assert click.placed == PlacedClick(0, 31_999, False, 1000)
