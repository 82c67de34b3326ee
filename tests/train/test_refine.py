"""Closer looks of simulated sessions: the same photo, target, clicks and probability, larger."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trees
from pydantic import ValidationError
from train_cases import config

from clickcut_eval.datasets.rle import encode_mask
from clickcut_train.data import Photo
from clickcut_train.errors import ConfigError
from clickcut_train.refine import Window, closer_sample, draw_window, look_back
from clickcut_train.sample_options import SampleOptions
from clickcut_train.samples import Sample, draw

SIZE = 96


def photo():
    rles = tuple(encode_mask(trees.ids() == k) for k in (1, 2))
    return Photo("p", trees.jpeg(), rles, encode_mask(trees.ids() == 255))


def drawn(seed=0, **options):
    """A sample with a correction, and a probability that is a ramp."""
    options = SampleOptions(**({"first": "mixed", "damaged": 1.0} | options))
    sample = draw(photo(), SIZE, options, np.random.default_rng(seed))
    assert sample is not None
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    sample.probability = ((x + 2 * y) / (3 * SIZE)).astype(np.float16)
    return sample


def enlarged(values, window, how=cv2.INTER_LINEAR):
    part = values[window.y0 : window.y0 + window.side, window.x0 : window.x0 + window.side]
    return cv2.resize(part.astype(np.float32), (SIZE, SIZE), interpolation=how)


@pytest.mark.parametrize("seed", range(4))  # mirrored ones among them
def test_a_closer_sample_shows_the_window_of_the_view(seed):
    sample = drawn(seed)
    window = Window(20, 31, 48)
    closer = closer_sample(sample, window)
    inner = np.s_[8:-8, 8:-8]
    for shown, expected, near in (
        (closer.image[..., 1], enlarged(sample.image[..., 1], window), 12),
        (closer.target, enlarged(sample.target, window, cv2.INTER_NEAREST), 0.05),
        (closer.ignore, enlarged(sample.ignore, window, cv2.INTER_NEAREST), 0.05),
        (closer.probability, enlarged(sample.probability, window), 2e-3),
    ):
        difference = np.abs(shown.astype(np.float32) - expected)[inner]
        assert difference.mean() <= near
    wrong = np.roll(enlarged(sample.target, window, cv2.INTER_NEAREST), 6, axis=1)
    assert np.abs(closer.target - wrong)[inner].mean() > 0.05
    assert not (closer.target & closer.ignore).any()


def test_a_closer_sample_has_detail_that_its_view_has_not():
    """The photo is drawn again: an enlarged view would be blurred."""
    sample = drawn()
    window = Window(24, 24, 40)
    closer = closer_sample(sample, window).image[..., 1]
    blurred = enlarged(sample.image[..., 1], window)

    def detail(values):
        return float(np.abs(cv2.Laplacian(np.asarray(values, np.float32), cv2.CV_32F)).mean())

    assert detail(closer) > 1.2 * detail(blurred)


def test_clicks_inside_the_window_stay_on_their_side_and_others_are_dropped():
    sample = drawn()
    sample.positive, sample.negative = [(30, 40), (5, 5)], [(67, 78), (68, 40), (20, 30)]
    closer = closer_sample(sample, Window(20, 31, 48))
    assert closer.positive == [(21, 19)]  # (10.5, 9.5) x 2
    assert closer.negative == [(95, 95)]


def test_the_same_window_gives_the_same_sample_and_damage_does_not_disturb_the_drawing():
    augmented = drawn(3, augment=True, zoom=True)
    first, second = (closer_sample(augmented, Window(10, 10, 50)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.target, second.target)


@pytest.mark.parametrize("click", [(0, 0), (95, 95), (48, 3), (50, 50)])
def test_windows_hold_their_click_and_lie_inside(click):
    for seed in range(20):
        window = draw_window(click, SIZE, np.random.default_rng(seed))
        assert 0.39 * SIZE < window.side < 0.81 * SIZE
        for value, start in zip(click, (window.x0, window.y0), strict=True):
            assert 0 <= start <= value < start + window.side <= SIZE


def test_what_a_look_found_is_blended_into_the_view():
    sample = drawn()
    before = sample.probability.copy()
    window = Window(20, 31, 48)
    look_back(sample, window, np.ones((SIZE, SIZE), np.float32))
    outside = np.ones((SIZE, SIZE), bool)
    outside[31:79, 20:68] = False
    np.testing.assert_array_equal(sample.probability[outside], before[outside])
    change = (sample.probability - before)[31:79, 20:68]
    assert (sample.probability[54:56, 43:45] > 0.95).all()
    assert change.min() >= 0
    assert change[:, 0].max() < 0.05 < change[24, 12] < change[24, 23]


def test_a_sample_without_a_photo_has_no_closer_view():
    blank = np.zeros((8, 8), bool)
    sample = Sample(np.zeros((8, 8, 3), np.uint8), blank, blank, np.zeros((8, 8), np.float16))
    with pytest.raises(ValueError, match="not drawn from a photo"):
        closer_sample(sample, Window(0, 0, 4))


def test_closer_looks_need_the_previous_probability():
    with pytest.raises((ConfigError, ValidationError), match=r"needs model\.previous"):
        config(model={"previous": False}, sessions={"refine_probability": 0.2})
