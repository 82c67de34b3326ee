"""Samples: what is shown, what is to be selected, the order of drawing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clickcut_eval.datasets.rle import encode_mask
from clickcut_train.data import EachObject, MemorySource, MixedSource, Photo, order
from clickcut_train.data.source import epoch, set_share_of_several, share_of_several
from clickcut_train.errors import DataError
from clickcut_train.sample_options import SampleOptions
from clickcut_train.samples import draw
from clickcut_train.target import MAX_LOBE, MIN_PART_AREA, choose_target

EVERYTHING = SampleOptions.mixed().model_copy(
    update={"merge": 0.5, "part": 0.3, "lobe": 0.2, "damaged": 0.2, "max_on_each_other": 3}
)


def photo(*masks, void=None, **changes):
    masks = masks or [trees.ids() == 1, trees.ids() == 2]
    rles = tuple(encode_mask(m) for m in masks)
    return Photo("p", trees.jpeg(), rles, None if void is None else encode_mask(void), **changes)


def box(x0, y0, x1, y1):
    out = np.zeros(trees.SHAPE, np.uint8)
    out[y0:y1, x0:x1] = 1
    return out


@pytest.mark.parametrize("options", [SampleOptions.paper(), EVERYTHING], ids=["paper", "mixed"])
def test_samples_hold_a_target_and_clicks_of_the_right_sign(options):
    drawn = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        void = trees.ids() == 255
        sample = draw(photo(void=void), 64, options, rng)
        if sample is None:
            continue
        drawn += 1
        assert sample.image.shape == (64, 64, 3)
        assert sample.image.dtype == np.uint8
        assert sample.target.any()
        assert not (sample.target & sample.ignore).any()
        for clicks, on_target in ((sample.positive, True), (sample.negative, False)):
            for x, y in clicks:
                assert sample.target[y, x] == on_target
                assert not sample.ignore[y, x]
        if not sample.probability.any():
            assert sample.positive
    assert drawn > 55


def test_a_sample_depends_on_its_generator_alone():
    one, two = (draw(photo(), 64, EVERYTHING, np.random.default_rng([3, 4])) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.target, two.target)
    assert (one.positive, one.negative) == (two.positive, two.negative)


def test_without_zoom_and_augmentation_the_whole_image_is_shown_and_half_are_mirrored():
    masks = [trees.ids() == 1]
    small = cv2.resize(masks[0].astype(np.uint8), (64, 64), interpolation=cv2.INTER_AREA) > 0
    mirrored = 0
    for seed in range(40):
        sample = draw(photo(*masks), 64, SampleOptions(), np.random.default_rng(seed))
        same = (sample.target ^ small).mean() < 0.05
        flipped = (sample.target[:, ::-1] ^ small).mean() < 0.05
        assert same != flipped
        mirrored += flipped
    assert 10 <= mirrored <= 30
    straight = SampleOptions(flip=False)
    for seed in range(10):
        sample = draw(photo(*masks), 64, straight, np.random.default_rng(seed))
        assert (sample.target ^ small).mean() < 0.05


def test_image_and_target_move_together():
    """The first object is red on every crop, whatever the region and the flip."""
    options = EVERYTHING.model_copy(update={"augment": False, "part": 0, "merge": 0})
    for seed in range(30):
        sample = draw(photo(trees.ids() == 1), 96, options, np.random.default_rng(seed))
        if sample is None:
            continue
        inner = cv2.erode(sample.target.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        red = sample.image[inner].astype(int)
        assert (red[:, 0] - red[:, 2] > 120).mean() > 0.95


def test_zoomed_crops_show_the_object_larger():
    options = SampleOptions(zoom=True)
    shares = [
        sample.target.mean()
        for seed in range(40)
        if (sample := draw(photo(box(50, 40, 75, 60)), 64, options, np.random.default_rng(seed)))
    ]
    assert max(shares) > 2.5 * min(shares)


def test_an_object_too_small_on_the_crop_gives_no_sample():
    assert draw(photo(box(3, 3, 8, 8)), 48, SampleOptions(), np.random.default_rng(0)) is None


def test_void_pixels_are_ignored_beside_the_target_only():
    void = box(0, 0, 128, 48)
    sample = draw(photo(void=void), 96, SampleOptions(flip=False), np.random.default_rng(1))
    np.testing.assert_array_equal(sample.ignore[:46] | sample.target[:46], True)
    assert not sample.ignore[50:].any()


def test_a_damaged_mask_is_followed_by_a_correction():
    options = SampleOptions(damaged=1.0)
    sample = draw(photo(), 64, options, np.random.default_rng(0))
    assert sample.probability.any()
    assert len(sample.positive) + len(sample.negative) == 1
    for x, y in sample.positive:
        assert sample.target[y, x]
        assert sample.probability[y, x] < 0.5
    for x, y in sample.negative:
        assert not sample.target[y, x]
        assert sample.probability[y, x] > 0.5


def test_paper_clicks_use_each_strategy_as_often_as_its_weight_says():
    rng = np.random.default_rng(0)
    counts = [
        len(draw(photo(), 64, SampleOptions(strategies=(0, 0, 1)), rng).negative) for _ in range(5)
    ]
    assert counts == [10] * 5
    others = SampleOptions(strategies=(0, 1, 0), flip=False)
    for seed in range(10):
        sample = draw(photo(chosen=0), 96, others, np.random.default_rng(seed))
        second = cv2.resize((trees.ids() == 2).astype(np.uint8), (96, 96))
        assert all(second[y, x] for x, y in sample.negative)
        assert len(sample.negative) <= 5


def test_paper_clicks_take_all_the_numbers_that_the_paper_allows():
    ring = SampleOptions(strategies=(1, 0, 0))
    roomy = photo(box(30, 30, 100, 70))
    samples = [draw(roomy, 128, ring, np.random.default_rng(seed)) for seed in range(150)]
    assert {len(s.positive) for s in samples} == set(range(1, 6))
    assert {len(s.negative) for s in samples} == set(range(11))


def test_the_three_strategies_have_equal_probability():
    """Distinguished by number and place: ten, all on the other object, or else in the ring."""
    near, far = box(50, 20, 80, 50), box(2, 70, 126, 95)
    first = cv2.resize(far, (96, 96), interpolation=cv2.INTER_NEAREST)
    options = SampleOptions(flip=False, max_in_ring=6, ring_width=12, margin=2)
    counts = np.zeros(3)
    for seed in range(240):
        sample = draw(photo(near, far, chosen=0), 96, options, np.random.default_rng(seed))
        if not sample.negative:
            counts[[0, 1]] += [6 / 13, 7 / 13]  # 1 of 7 rings and 1 of 6 others are empty
        elif len(sample.negative) == 10:
            counts[2] += 1
        else:
            counts[1 if all(first[y, x] for x, y in sample.negative) else 0] += 1
    np.testing.assert_allclose(counts / 240, 1 / 3, atol=0.08)


def test_options_are_checked():
    for wrong in ({"frist": "paper"}, {"merge": 2}, {"first": "later"}, {"step": 0}):
        with pytest.raises(ValidationError):
            SampleOptions.model_validate(wrong)
    with pytest.raises(ValidationError, match="above 0"):
        SampleOptions(strategies=(0, 0, 0))


# ---- targets


def test_the_chosen_object_is_taken():
    for chosen in (0, 1):
        target = choose_target(photo(chosen=chosen), np.random.default_rng(0))
        np.testing.assert_array_equal(target.mask, trees.ids() == chosen + 1)


def test_larger_objects_more_often_or_every_one_alike():
    big, small = box(0, 0, 100, 90), box(110, 0, 120, 10)
    areas = np.array([9000, 100])
    for exponent in (0.0, 0.25, 0.5):
        rng = np.random.default_rng(0)
        picked = [choose_target(photo(big, small), rng, exponent).instances[0] for _ in range(600)]
        share = areas[0] ** exponent / (areas**exponent).sum()
        assert np.mean(np.array(picked) == 0) == pytest.approx(share, abs=0.06)


def test_touching_instances_are_merged_and_others_stay_negative():
    left, right, away = box(10, 10, 40, 60), box(42, 10, 60, 60), box(90, 10, 120, 60)
    whole = photo(left, right, away, chosen=0)
    target = choose_target(whole, np.random.default_rng(0), merge=1.0)
    np.testing.assert_array_equal(target.mask, left | right)
    (other,) = target.others()
    np.testing.assert_array_equal(other, away)
    alone = choose_target(photo(left, away, chosen=0), np.random.default_rng(0), merge=1.0)
    np.testing.assert_array_equal(alone.mask, left)


def test_a_piece_of_an_object_is_selectable_and_the_rest_is_negative():
    pieces = box(10, 10, 40, 60) | box(60, 10, 90, 60)
    target = choose_target(photo(pieces), np.random.default_rng(0), part=1.0)
    assert target.mask.sum() == 30 * 50
    (rest,) = target.others()
    np.testing.assert_array_equal(rest | target.mask, pieces)
    assert not (rest & target.mask).any()


def test_a_smaller_instance_on_an_object_is_selectable():
    person, tie = box(10, 10, 60, 90), box(30, 30, 45, 60)
    target = choose_target(photo(person, tie, chosen=0), np.random.default_rng(0), part=1.0)
    np.testing.assert_array_equal(target.mask, tie)
    (rest,) = target.others()
    np.testing.assert_array_equal(rest, person & (1 - tie))
    whole = choose_target(photo(person, tie, chosen=0), np.random.default_rng(0), part=0.0)
    np.testing.assert_array_equal(whole.mask, person)
    assert not list(whole.others())


def test_a_lobe_is_selectable_and_what_its_neck_leads_to_is_negative():
    head, body = box(40, 10, 70, 35), box(20, 42, 100, 90)
    figure = head | body | box(52, 35, 58, 42)
    found = set()
    for seed in range(30):
        target = choose_target(photo(figure), np.random.default_rng(seed), lobe=1.0)
        if (target.mask == figure).all():
            continue
        assert cv2.connectedComponents(target.mask)[0] == 2
        assert target.mask[10:35, 40:70].all()
        assert not target.mask[45:].any()
        (rest,) = target.others()
        np.testing.assert_array_equal(rest | target.mask, figure)
        assert not (rest & target.mask).any()
        found.add(target.mask.tobytes())
    assert found
    whole = choose_target(photo(figure), np.random.default_rng(0), lobe=0.0)
    np.testing.assert_array_equal(whole.mask, figure)


def test_an_unconnected_piece_is_no_lobe():
    pieces = box(10, 10, 40, 60) | box(60, 10, 90, 60)
    for seed in range(10):
        target = choose_target(photo(pieces), np.random.default_rng(seed), lobe=1.0)
        np.testing.assert_array_equal(target.mask, pieces)


@given(st.integers(0, 2**32 - 1))
def test_a_lobe_is_one_piece_of_its_object_and_at_most_most_of_it(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros(trees.SHAPE, np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        x, y = (int(rng.integers(0, n)) for n in trees.SHAPE[::-1])
        cv2.circle(mask, (x, y), int(rng.integers(1, 25)), 1, -1)
    target = choose_target(photo(mask), rng, lobe=1.0)
    assert not (target.mask & (1 - mask)).any()
    if target.rest is not None:
        assert cv2.connectedComponents(target.mask)[0] == 2
        assert MIN_PART_AREA <= target.mask.sum() <= MAX_LOBE * mask.sum()
        np.testing.assert_array_equal(target.mask | target.rest, mask)


@pytest.mark.parametrize("options", [{"part": 1.0}, {"lobe": 1.0}], ids=["part", "lobe"])
def test_an_object_without_parts_is_taken_whole(options):
    target = choose_target(photo(box(10, 10, 60, 60)), np.random.default_rng(0), **options)
    np.testing.assert_array_equal(target.mask, box(10, 10, 60, 60))


# ---- order


def source(count, weights=None):
    return MemorySource([photo() for _ in range(count)], weights)


def test_every_epoch_holds_each_photo_by_its_weight():
    weights = [1.0, 2.0, 0.5, 0.5, 1.25, 1.25, 1.25, 1.25]
    numbers = order(source(8, weights), seed=3)
    assert numbers.epoch_length == 9
    counts = np.array(
        [np.bincount([numbers[e * 9 + i] for i in range(9)], minlength=8) for e in range(200)]
    )
    low = np.floor(weights)
    assert ((counts >= low) & (counts <= low + 1)).all()
    assert (counts[:, :2] == [1, 2]).all()
    np.testing.assert_allclose(counts.mean(0), weights, atol=0.12)


def test_photos_with_several_objects_are_the_share_that_is_asked_for():
    one, two = photo(box(10, 10, 60, 60)), photo()
    mixed = MemorySource([one] * 30 + [two] * 10, [1.0] * 10 + [0.5] * 20 + [2.0] * 10)
    assert share_of_several(mixed) == 0.5
    set_share_of_several(mixed, 0.8)
    assert share_of_several(mixed) == pytest.approx(0.8)
    assert mixed.weights.sum() == pytest.approx(40)
    assert mixed.weights[0] == pytest.approx(2 * mixed.weights[10])
    numbers = order(mixed, 0)
    assert np.mean([numbers[i] >= 30 for i in range(4000)]) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("photos", [[photo()], [photo(box(10, 10, 60, 60))]], ids=["all", "none"])
def test_without_a_choice_no_share_of_several_objects_can_be_kept(photos):
    with pytest.raises(DataError, match=r"data\.several is 0\.5, but (every|no) photo has"):
        set_share_of_several(MemorySource(photos), 0.5)


def test_epochs_differ_and_repeat_with_the_seed():
    one, two, other = order(source(20), 1), order(source(20), 1), order(source(20), 2)
    first = [one[i] for i in range(20)]
    assert sorted(first) == list(range(20))
    assert first != [one[20 + i] for i in range(20)]
    assert first == [two[i] for i in reversed(range(20))][::-1]
    assert first != [other[i] for i in range(20)]


def test_each_object_is_shown_fifteen_times_an_epoch():
    three = photo(box(0, 0, 30, 30), box(40, 0, 70, 30), box(80, 0, 110, 30))
    each = EachObject(MemorySource([three, photo(box(0, 0, 30, 30))], [1.0, 2.0]), 15)
    numbers = order(each, 0)
    assert numbers.epoch_length == 15 * (3 + 2)
    chosen = [each.photo(numbers[i]) for i in range(75)]
    assert np.bincount([p.chosen for p in chosen if len(p.rles) == 3]).tolist() == [15, 15, 15]
    assert sum(len(p.rles) == 1 for p in chosen) == 30


def test_a_window_keeps_neighbouring_groups_together():
    spread = source(60)
    spread.groups, spread.window = np.arange(60) // 10, 2
    drawn = epoch(spread, np.random.default_rng(0))
    assert sorted(drawn) == list(range(60))
    parts = [set(drawn[i : i + 20] // 10) for i in (0, 20, 40)]
    assert [len(p) for p in parts] == [2, 2, 2]
    assert len(set(drawn[:10] // 10)) == 2  # mixed inside a window


def test_sources_mix_by_their_weights():
    windowed = source(40)
    windowed.groups, windowed.window = np.arange(40) // 10, 1
    mixed = MixedSource([source(20, [3.0] * 20), windowed])
    drawn = epoch(mixed, np.random.default_rng(0))
    assert len(drawn) == 100
    np.testing.assert_array_equal(np.bincount(drawn), [3] * 20 + [1] * 40)
    assert all((drawn[i : i + 25] < 20).sum() == 15 for i in range(0, 100, 25))
    assert mixed.photo(59) is windowed.photo(39)
    assert mixed.photo(0) is not windowed.photo(0)


def test_wrong_sources_are_errors():
    with pytest.raises(DataError, match="no photograph"):
        MemorySource([])
    with pytest.raises(DataError, match="as many weights"):
        source(2, [1.0])
    with pytest.raises(DataError, match="above 0"):
        source(2, [1.0, 0.0])


def test_old_configurations_name_how_objects_are_chosen():
    assert SampleOptions.model_validate({"choose": "area"}) == SampleOptions(area_exponent=0.5)
    assert SampleOptions.model_validate({"choose": "uniform"}) == SampleOptions()
    with pytest.raises(ValidationError):
        SampleOptions.model_validate({"choose": "other"})


def test_small_targets_are_drawn_when_min_area_allows_them():
    tiny = box(60, 40, 66, 46)
    drawn = {}
    for least in (64, 8):
        options = SampleOptions(min_area=least)
        samples = [draw(photo(tiny), 64, options, np.random.default_rng(s)) for s in range(10)]
        drawn[least] = [s for s in samples if s is not None]
    assert not drawn[64]
    assert len(drawn[8]) == 10
    assert all(s.positive for s in drawn[8])


def test_zoomed_crops_reach_as_far_around_the_object_as_zoom_max_says():
    spot = box(56, 40, 72, 56)
    shares = {}
    for reach in (2.0, 6.0):
        options = SampleOptions(zoom=True, zoom_max=reach, first="mixed")
        drawn = [draw(photo(spot), 128, options, np.random.default_rng(s)) for s in range(80)]
        shares[reach] = np.sqrt([s.target.mean() for s in drawn if s is not None])
    # A crop is at least 64 pixels of the photo wide, four sides of this object.
    assert shares[6.0].min() < 0.85 * shares[2.0][shares[2.0] > 0.2].min()
