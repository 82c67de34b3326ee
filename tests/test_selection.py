"""Selections: packing, bounding boxes, and what changed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clickcut.region import Region
from clickcut.selection import EMPTY, Selection, bounding_box, paint, union

masks = arrays(np.bool_, (9, 13), elements=st.booleans())
sparse = arrays(np.bool_, (9, 13), elements=st.sampled_from([False] * 30 + [True]))


@given(masks | sparse)
def test_a_selection_keeps_the_mask(mask):
    selection = Selection.of(mask)
    np.testing.assert_array_equal(selection.inside(Region(0, 0, 13, 9)), mask)
    assert selection.area == mask.sum()
    assert selection.box == bounding_box(mask)


@given(masks | sparse, st.integers(0, 5), st.integers(0, 5))
def test_inside_any_region(mask, x0, y0):
    region = Region(x0, y0, 13, 9)
    np.testing.assert_array_equal(Selection.of(mask).inside(region), mask[y0:, x0:])


@given(sparse, sparse | masks)
def test_painting_turns_one_mask_into_the_other_and_names_the_smallest_rectangle(old, new):
    shown = old.copy()
    changed = paint(shown, Selection.of(old), Selection.of(new))
    np.testing.assert_array_equal(shown, new)
    assert changed == bounding_box(old != new)


def test_the_position_of_a_region_is_kept():
    selection = Selection.of(np.ones((2, 3), np.bool_), 10, 20)
    assert selection.box == Region(10, 20, 13, 22)
    assert EMPTY.cropped().size == 0


@given(masks | sparse, masks | sparse)
def test_set_operations(one, two):
    first, second = Selection.of(one), Selection.of(two)
    whole = Region(0, 0, 13, 9)
    np.testing.assert_array_equal(first.without(second).inside(whole), one & ~two)
    np.testing.assert_array_equal(union([first, second], 13, 9).inside(whole), one | two)
    assert first.equals(second) == np.array_equal(one, two)
    assert [[first.contains(x, y) for x in range(13)] for y in range(9)] == one.tolist()
    assert not first.contains(-1, 0)
    assert not first.contains(0, 9)
