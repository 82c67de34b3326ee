"""Guidance maps against their definition, whatever the order of additions and removals."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickcut import maps
from clickcut.maps import DiscMap, DistanceMap, guidance_map

pytestmark = pytest.mark.kernels

shapes = st.tuples(st.integers(1, 14), st.integers(1, 14))


@st.composite
def histories(draw):
    """A map shape and a sequence of point sets to show one after the other."""
    height, width = draw(shapes)
    point = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    return (height, width), draw(st.lists(st.sets(point, max_size=16), min_size=1, max_size=6))


@settings(deadline=None, max_examples=150)
@given(histories())
def test_distance_map_equals_its_definition_after_any_history(history):
    shape, sets = history
    shown = DistanceMap(np.empty(shape, np.float32))
    for points in sets:
        shown.show(points)
        np.testing.assert_array_equal(shown.channel, naive.distance_map(shape, points))


@settings(deadline=None, max_examples=150)
@given(histories(), st.integers(0, 6))
def test_disc_map_equals_its_definition_after_any_history(history, radius):
    shape, sets = history
    shown = DiscMap(np.empty(shape, np.float32), radius)
    for points in sets:
        shown.show(points)
        np.testing.assert_array_equal(shown.channel, naive.disc_map(shape, points, radius))


@settings(deadline=None, max_examples=60)
@given(histories())
def test_rebuilding_equals_single_updates(history):
    (height, width), sets = history
    for points in sets:
        array = np.array(sorted(points), np.int32).reshape(-1, 2)
        idents = np.arange(len(array), dtype=np.int32)
        built = np.empty((height, width), np.float32)
        nearest = np.empty((height, width), np.int32)
        scratch = np.empty((height, width), np.int32)
        maps.build_distance(built, nearest, array, idents, scratch)
        np.testing.assert_array_equal(built, naive.distance_map((height, width), points))
        for row in range(height):
            for col in range(width):
                if points:
                    x, y = array[nearest[row, col]]
                    assert np.float32(np.hypot(row - y, col - x)) == built[row, col]


def test_an_empty_set_is_255_everywhere():
    assert (DistanceMap(np.empty((7, 9), np.float32)).channel == 255).all()


def test_distances_are_truncated_at_255():
    shown = DistanceMap(np.empty((1, 600), np.float32))
    shown.show([(0, 0)])
    assert shown.channel[0, 254] == 254
    assert (shown.channel[0, 255:] == 255).all()
    many = [(0, 0), (599, 0), *((x, 0) for x in range(20))]
    shown.show(many)
    np.testing.assert_array_equal(shown.channel, naive.distance_map((1, 600), many))
    shown.show([(599, 0)])
    np.testing.assert_array_equal(shown.channel, naive.distance_map((1, 600), [(599, 0)]))


def test_adding_a_point_leaves_pixels_beyond_its_reach_alone():
    shown = DistanceMap(np.empty((50, 50), np.float32))
    shown.show([(10, 10)])
    before = shown.channel.copy()
    shown.show([(10, 10), (12, 10)])
    assert (shown.channel[:, :11] == before[:, :11]).all()
    assert (shown.channel[:, 12:] < before[:, 12:]).all()


@pytest.mark.parametrize(("encoding", "kind"), [("distance", DistanceMap), ("disc", DiscMap)])
def test_encodings_by_name(encoding, kind):
    assert isinstance(guidance_map(encoding, np.empty((3, 3), np.float32), 5), kind)
