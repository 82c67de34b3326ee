"""Recorded sessions hold what the network gets in the engine, click by click."""

from __future__ import annotations

import numpy as np
import pytest
from export_cases import data_folder, targets
from fakes import FakePredictor

from clickcut_export.sessions import MAX_CLICKS, read_targets, record, record_all, split
from clickcut_train.errors import DataError


def test_every_click_gives_the_input_that_the_network_got(tmp_path):
    predictor = FakePredictor()
    (target,) = targets(tmp_path, 1)
    inputs = record(target, predictor, 3)
    assert len(inputs) == len(predictor.batches)
    assert 1 <= len(inputs) <= 6  # a click may be looked at a second time, closer
    for kept, got in zip(inputs, predictor.batches, strict=True):
        np.testing.assert_array_equal(kept, got)
    assert inputs[0].shape == (1, 6, 64, 64)
    assert inputs[0][0, 3].any()  # the first click is on the object,
    assert not inputs[0][0, 4:].any()  # and there is nothing before it


def test_later_clicks_come_with_the_previous_probability(tmp_path):
    predictor = FakePredictor()
    inputs = [x for target in targets(tmp_path, 3) for x in record(target, predictor, 4)]
    later = [x for x in inputs if x[0, 5].any()]
    assert later
    for x in later:
        assert x[0, 5].max() <= 1
        assert x[0, 3].any()


def test_sessions_have_different_lengths_and_repeat_with_the_seed(tmp_path):
    chosen = targets(tmp_path, 3)
    one, two = (record_all(chosen, FakePredictor(), seed=5) for _ in range(2))
    assert len(one) == len(two) <= 3 * 2 * MAX_CLICKS
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_of_images_and_masks_is_read(tmp_path):
    found = read_targets([f"folder:{data_folder(tmp_path / 'data', 3)}"], 10)
    assert len(found) == 3
    for target in found:
        ground_truth = target.ground_truth()
        assert ground_truth.mask.any()
        assert ground_truth.mask.shape == target.pixels().shape[:2]


def test_photographs_are_in_one_part_only(tmp_path):
    chosen = targets(tmp_path, 7)
    calibrate, compare = split([*chosen, *chosen], 3)
    assert {t.image for t in calibrate}.isdisjoint(t.image for t in compare)
    assert len(calibrate) + len(compare) == 14
    assert len(calibrate) > len(compare) > 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pascal:somewhere:train", "kinds are voc, "),
        ("voc:somewhere", "which splits"),
        ("nowhere", "such as folder:nowhere"),
    ],
)
def test_data_that_cannot_be_read_is_named(spec, message):
    with pytest.raises(DataError, match=message):
        read_targets([spec], 4)
