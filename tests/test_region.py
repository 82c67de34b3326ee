"""Where the network looks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickcut.region import SLACK, Region, around_points, choose_region, first_region
from clickcut.resample import move, resize


@st.composite
def cases(draw):
    width, height = draw(st.integers(1, 4000)), draw(st.integers(1, 4000))

    def box():
        x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        return Region(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))

    return width, height, box(), draw(st.none() | st.just(box()))


@given(cases(), st.floats(1.0, 3.0), st.integers(16, 300))
def test_a_region_holds_what_is_needed_and_lies_in_the_image(case, expansion, min_side):
    width, height, needed, present = case
    region = choose_region(width, height, needed, present, expansion, min_side)
    assert Region(0, 0, width, height).contains(region)
    assert region.contains(needed)
    if region != present:
        assert region.width >= min(width, min_side)
        assert region.height >= min(height, min_side)


@given(cases(), st.floats(1.0, 3.0), st.integers(16, 300))
def test_a_kept_region_is_not_much_larger_than_a_fresh_one(case, expansion, min_side):
    width, height, needed, present = case
    fresh = choose_region(width, height, needed, None, expansion, min_side)
    region = choose_region(width, height, needed, present, expansion, min_side)
    assert region == fresh or (region == present and present.area <= SLACK * fresh.area)


def test_the_first_prediction_sees_the_whole_image():
    assert choose_region(640, 480, None, None, 1.4, 128) == Region(0, 0, 640, 480)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)), max_size=4),
    st.floats(1.0, 8.0),
)
def test_the_first_region_of_a_long_image_holds_the_clicks(width, height, places, aspect):
    points = [(int(x * width), int(y * height)) for x, y in places]
    region = first_region(width, height, points, aspect)
    assert Region(0, 0, width, height).contains(region)
    assert all(region.holds(x, y) for x, y in points)
    longer, shorter = max(width, height), min(width, height)
    if not points or longer <= aspect * shorter:
        assert region == Region(0, 0, width, height)
    elif len(points) == 1:
        assert max(region.width, region.height) <= aspect * shorter + 1


def test_a_small_selection_in_a_large_image_is_zoomed_to():
    region = choose_region(4000, 3000, Region(1000, 1000, 1200, 1300), None, 1.4, 128)
    assert region == Region(942, 940, 1257, 1360)


def test_the_region_stays_while_the_selection_changes_little():
    first = choose_region(4000, 3000, Region(1000, 1000, 1200, 1300), None, 1.4, 128)
    grown = Region(995, 1000, 1210, 1310)
    assert choose_region(4000, 3000, grown, first, 1.4, 128) == first
    assert choose_region(4000, 3000, Region(1000, 1000, 2000, 2000), first, 1.4, 128) != first


def test_box_around_points():
    assert around_points([]) is None
    assert around_points([(3, 4), (1, 9)]) == Region(1, 4, 4, 10)


def test_moving_a_probability_to_its_own_region_changes_nothing():
    values = np.random.default_rng(0).random((32, 32), np.float32)
    region = Region(5, 6, 50, 70)
    assert move(values, region, region, 0.0) is values


def test_a_probability_moved_to_a_part_equals_that_part():
    values = np.random.default_rng(0).random((64, 64), np.float32)
    whole, part = Region(0, 0, 64, 64), Region(16, 8, 48, 40)
    moved = move(values, whole, part, 0.0)
    assert moved.shape == (64, 64)
    back = resize(values[8:40, 16:48], 64)
    np.testing.assert_allclose(moved[2:-2, 2:-2], back[2:-2, 2:-2], atol=1e-2)


def test_a_probability_is_zero_outside_its_source():
    source, target = Region(0, 0, 8, 8), Region(4, 0, 12, 8)
    moved = move(np.ones((8, 8), np.float32), source, target, 0.0)
    assert (move(np.ones((8, 8), np.float32), source, target, None) == 1).all()
    np.testing.assert_array_equal(moved[:, :4], 1)
    np.testing.assert_array_equal(moved[:, 5:], 0)


def test_a_map_moved_to_another_shape_covers_the_same():
    values = np.random.default_rng(0).random((40, 60), np.float32)
    whole = Region(0, 0, 60, 40)
    np.testing.assert_allclose(
        move(values, whole, whole, None, (64, 64)),
        cv2.resize(values, (64, 64), interpolation=cv2.INTER_LINEAR),
        atol=0.02,  # warpAffine counts in 1/32 of an element
    )
    part = Region(10, 5, 40, 35)
    np.testing.assert_array_equal(move(values, whole, part, None, (30, 30)), values[part.slices])
    assert part.scaled(3) == Region(30, 15, 120, 105)


@pytest.mark.parametrize("shape", [(1, 1), (20, 300), (300, 20), (64, 64), (500, 375)])
def test_resizing_any_shape(shape):
    assert resize(np.ones(shape, np.float32), 64) == pytest.approx(np.ones((64, 64)))


@given(st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_the_intersection_holds_the_pixels_of_both(values):
    a, b = (Region(*map(min, q, q[2:]), *map(max, q, q[2:])) for q in (values[:4], values[4:]))
    both = [np.zeros((9, 9), bool) for _ in range(2)]
    both[0][a.slices], both[1][b.slices] = True, True
    found = np.zeros((9, 9), bool)
    found[a.intersection(b).slices] = True
    np.testing.assert_array_equal(found, both[0] & both[1])
    assert a.contains(a.intersection(b))


small_regions = st.tuples(*[st.integers(0, 7)] * 4).map(
    lambda v: Region(min(v[0], v[1]), min(v[2], v[3]), max(v[0], v[1]) + 1, max(v[2], v[3]) + 1)
)


@given(small_regions, st.none() | small_regions)
def test_a_region_without_another_is_covered_once(region, other):
    covered = np.zeros((9, 9), int)
    for part in region.without(other):
        assert part.area
        covered[part.slices] += 1
    wanted = np.zeros((9, 9), int)
    wanted[region.slices] = 1
    if other is not None:
        wanted[other.slices] = 0
    np.testing.assert_array_equal(covered, wanted)
