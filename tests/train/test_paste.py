"""Objects pasted onto other photographs."""

from __future__ import annotations

import numpy as np
import trees
from test_samples import box, photo

from clickcut_eval.datasets.rle import encode_mask
from clickcut_train.data import MemorySource
from clickcut_train.data.photo import Photo
from clickcut_train.lanes import fresh_samples
from clickcut_train.paste import paste
from clickcut_train.sample_options import SampleOptions


def flat(value, *masks, size=(90, 140)):
    """A photograph of one colour."""
    import cv2

    encoded = cv2.imencode(".png", np.full((*size, 3), value, np.uint8))[1].tobytes()
    return Photo(f"flat {value}", encoded, tuple(encode_mask(m) for m in masks))


def test_the_pasted_pixels_are_the_objects_and_all_others_are_the_ground():
    mask = np.zeros((90, 140), np.uint8)
    mask[20:60, 30:90] = 1
    other = np.zeros((90, 140), np.uint8)
    other[5:30, 5:50] = 1
    covered = 0
    for seed in range(30):
        made = paste(flat(250, mask), flat(10, other), np.random.default_rng(seed))
        target, pixels = made.mask(0).astype(bool), made.image()
        assert made.chosen == 0
        assert pixels[target].min() >= 130  # at least half of the object's colour
        assert pixels[~target].max() <= 130
        share = target.mean()
        assert 0.003 < share < 0.35
        if len(made.rles) > 1:
            rest = made.mask(1).astype(bool)
            assert not (rest & target).any()
            assert (rest | target)[other == 1].all()
            covered += rest.sum() < other.sum()
    assert covered > 2


def test_void_pixels_under_the_object_are_known_now():
    everywhere = encode_mask(np.ones(trees.SHAPE, np.uint8))
    onto = Photo("void", trees.jpeg(), (), everywhere)
    made = paste(photo(box(20, 20, 60, 60)), onto, np.random.default_rng(0))
    assert not (made.void_mask() & made.mask(0)).any()
    assert (made.void_mask() | made.mask(0)).all()


def test_fresh_samples_are_pasted_as_often_as_the_option_says_and_reproducibly():
    sources = [photo(box(20, 20, 60, 60)), photo(box(40, 10, 90, 70))]
    names = []

    class Spy(MemorySource):
        def photo(self, index):
            names.append(index)
            return super().photo(index)

    def drawn(share):
        names.clear()
        options = SampleOptions(paste=share, pairs_per_object=0)
        fresh = fresh_samples(Spy(sources), options, 64, 2, seed=3)
        return [fresh(0, k)[1] for k in range(40)], len(names)

    _, never = drawn(0.0)
    first, sometimes = drawn(0.3)
    second, _ = drawn(0.3)
    assert 4 <= sometimes - never <= 24
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.target, b.target)
