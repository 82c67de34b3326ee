"""Refinement of a region around the last click, and predictions averaged with the mirrored ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fakes import FakePredictor, metadata, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from clickcut.cut.problem import LOGIT_LIMIT
from clickcut.errors import CutError
from clickcut.images import prepare_pixels
from clickcut.region import Region, grown, part_around
from clickcut.resample import move
from clickcut.selection import EMPTY, Selection
from clickcut.session import ClickSession
from clickcut.session.network_input import NetworkInput
from clickcut.session.pipeline import Pipeline
from clickcut.session.refinement import Refinement, blended, crop_around, depth_of
from clickcut.session.state import probability

S = 64
OBJECT = (53, 60)
REFINE = {"zoom": True, "expansion": 1.4, "min_side": 16, "max_looks": 1, "refine": 0.5}


def start(**region):
    return ClickSession(prepare_pixels(picture()), FakePredictor(region=REFINE | region))


def batches(session):
    return session._pipeline._predictor.batches


def some_logits(seed, scale=4.0):
    noise = np.random.default_rng(seed).standard_normal((S, S)).astype(np.float32)
    return scale * cv2.GaussianBlur(noise, (0, 0), 3) * 8


regions = st.tuples(
    st.integers(0, 90), st.integers(0, 90), st.integers(8, 300), st.integers(8, 300)
).map(lambda v: Region(v[0], v[1], v[0] + v[2], v[1] + v[3]))


@given(regions, st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 0.9))
def test_a_part_lies_in_its_region_and_around_its_pixel(region, u, v, share):
    x = region.x0 + int(u * (region.width - 1))
    y = region.y0 + int(v * (region.height - 1))
    part = part_around(region, (x, y), share)
    assert region.contains(part)
    assert part.holds(x, y)
    assert part.width == int(np.ceil(share * region.width))
    assert part.height == int(np.ceil(share * region.height))
    if part.x0 > region.x0 and part.x1 < region.x1:
        assert abs((part.x0 + part.x1) / 2 - x - 0.5) <= 1


def naive_blend(logits, region, crop, found, shape):
    """Sample by sample: bilinear in both outputs, weights by distance from the crop's edges."""

    def at(values, area, x, y):
        rows, columns = values.shape
        i = min(max((x - area.x0) * columns / area.width - 0.5, 0), columns - 1)
        j = min(max((y - area.y0) * rows / area.height - 0.5, 0), rows - 1)
        i0, j0 = int(i), int(j)
        i1, j1 = min(i0 + 1, columns - 1), min(j0 + 1, rows - 1)
        s, t = i - i0, j - j0
        above = values[j0, i0] * (1 - s) + values[j0, i1] * s
        below = values[j1, i0] * (1 - s) + values[j1, i1] * s
        return above * (1 - t) + below * t

    def weight(place, start, end, first, last):
        reach = (last - first) / 2
        inside = 1.0
        if first > start:
            inside = min(inside, (place - first) / reach)
        if last < end:
            inside = min(inside, (last - place) / reach)
        return max(inside, 0.0)

    out = np.empty(shape)
    for row in range(shape[0]):
        y = region.y0 + (row + 0.5) * region.height / shape[0]
        for column in range(shape[1]):
            x = region.x0 + (column + 0.5) * region.width / shape[1]
            w = weight(y, region.y0, region.y1, crop.y0, crop.y1)
            w *= weight(x, region.x0, region.x1, crop.x0, crop.x1)
            base = at(logits, region, x, y)
            out[row, column] = base + w * (at(found, crop, x, y) - base)
    return out


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize(
    ("region", "crop"),
    [
        (Region(10, 20, 110, 100), Region(40, 45, 90, 85)),
        (Region(0, 0, 160, 120), Region(0, 60, 80, 120)),  # at two edges of the region
        (Region(3, 5, 30, 40), Region(8, 9, 22, 27)),  # smaller than the network's input
    ],
)
def test_the_blend_is_what_its_text_says(region, crop, fine):
    logits = some_logits(0)
    refinement = Refinement.of(crop, some_logits(1))
    got = blended(logits, region, refinement, fine)
    expected = naive_blend(logits, region, crop, refinement.logits.astype(np.float64), got.shape)
    # OpenCV interpolates with coordinates rounded to 1/32 of a sample.
    np.testing.assert_allclose(got, expected, atol=0.12)
    assert np.abs(got - expected).mean() < 0.02
    assert got.dtype == np.float32


def test_beyond_the_crop_the_region_keeps_its_logits_bit_for_bit():
    region, crop = Region(0, 0, 128, 128), Region(32, 32, 96, 96)
    logits = some_logits(0)
    got = blended(logits, region, Refinement.of(crop, some_logits(1)))
    outside = np.ones((S, S), bool)
    outside[16:48, 16:48] = False
    np.testing.assert_array_equal(got[outside], logits[outside])
    assert (got != logits)[18:46, 18:46].all()
    assert blended(logits, region, None) is logits


def test_the_cut_gets_the_resolution_of_the_crop_but_no_more_than_the_image_has():
    region, crop = Region(0, 0, 600, 400), Region(150, 100, 450, 300)
    stripes = np.where(np.arange(S) % 2 < 1, 6.0, -6.0).astype(np.float32)
    refinement = Refinement.of(crop, np.tile(stripes, (S, 1)))
    logits = np.zeros((S, S), np.float32)
    coarse, fine = (blended(logits, region, refinement, f) for f in (False, True))
    assert coarse.shape == (S, S)
    assert fine.shape == (2 * S, 2 * S)
    middle = fine[S, S // 2 + 16 : S // 2 + 48]
    assert np.abs(middle).mean() > 2 * np.abs(coarse[S // 2, 24:40]).mean()
    small = Region(0, 0, 100, 70)
    limited = Refinement.of(Region(20, 20, 70, 55), np.tile(stripes, (S, 1)))
    assert blended(logits, small, limited, True).shape == (70, 100)


def test_logits_beyond_the_limit_of_the_cut_are_clipped_and_nan_is_refused_by_it():
    crop = Region(0, 0, 8, 8)
    large = np.full((S, S), 1e30, np.float32)
    assert (Refinement.of(crop, large).logits == LOGIT_LIMIT).all()
    session = start()
    session.click(*OBJECT)
    mask = session.mask.copy()
    predictor = session._pipeline._predictor
    real = predictor._logits
    predictor._logits = lambda x: real(x) if len(predictor.batches) < 3 else np.full((S, S), np.nan)
    with pytest.raises(CutError, match="NaN"):
        session.click(80, 60)
    np.testing.assert_array_equal(session.mask, mask)
    assert session.num_clicks == 1


POLICY = metadata(region=REFINE).region


@pytest.mark.parametrize(
    ("points", "region", "crop"),
    [
        ([(50, 50)], Region(0, 0, 100, 80), Region(26, 30, 76, 70)),
        ([(40, 50), (60, 50)], Region(0, 0, 100, 80), Region(26, 30, 76, 70)),  # a stroke
        ([(10, 50), (90, 50)], Region(0, 0, 100, 80), None),  # a stroke longer than the crop
        ([(120, 50)], Region(0, 0, 100, 80), None),  # beyond the region
        ([(5, 5)], Region(0, 0, 100, 20), None),  # too small a crop
        ([], Region(0, 0, 100, 80), None),
    ],
)
def test_where_a_click_is_refined(points, region, crop):
    assert crop_around(points, region, POLICY) == crop


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_the_depth_of_a_click_is_its_distance_from_the_outline(seed):
    rng = np.random.default_rng(seed)
    mask = cv2.GaussianBlur(rng.standard_normal((60, 90)), (0, 0), 6) > 0.01
    region = Region(20, 10, 84, 74 - 14)
    x, y = int(rng.integers(20, 84)), int(rng.integers(10, 60))
    got = depth_of(Selection.of(mask), region, [(x, y)], S)
    shown = mask[region.slices]
    rows, columns = np.nonzero(shown != shown[y - 10, x - 20])
    if rows.size == 0:
        assert got == 1
        return
    scale = np.array([1 / region.height, 1 / region.width])
    away = (np.stack([rows, columns], 1) - (y - 10, x - 20)) * scale
    expected = min(1.0, float(np.hypot(*away.T).min()))
    assert got == pytest.approx(expected, abs=0.06)


def test_without_an_outline_a_click_is_deep():
    region = Region(0, 0, 64, 64)
    assert depth_of(EMPTY, region, [(3, 4)], S) == 1
    assert depth_of(Selection.of(np.ones((64, 64), bool)), region, [(3, 4)], S) == 1
    assert depth_of(Selection.of(np.eye(64, dtype=bool)), region, [(70, 4)], S) == 1


def test_a_later_click_is_refined_in_a_second_pass_on_half_of_the_region():
    session = start()
    session.click(*OBJECT)
    assert len(batches(session)) == 1
    session.click(80, 60)
    assert len(batches(session)) == 3
    region, _ = session.probability
    crop = session._state.refinement.crop
    assert (crop.width, crop.height) == (-(-region.width // 2), -(-region.height // 2))
    assert crop.holds(80, 60)
    closer = batches(session)[-1][0]
    row, column = (
        int(S * share) for share in ((60.5 - crop.y0) / crop.height, (80.5 - crop.x0) / crop.width)
    )
    assert closer[3, row, column] == 1
    # what the network said of the region is the previous probability of the crop
    coarse = probability(session._state.logits)
    size = region.width, region.height
    there = cv2.resize(coarse, size)[crop.relative_to(region).slices]
    shown = cv2.resize(closer[5], there.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(shown - there).mean() < 0.02


def test_the_next_click_sees_what_the_refinement_found():
    session = start()
    session.click(*OBJECT)
    session.click(80, 60)
    region, before = session.probability
    assert np.abs(before - probability(session._state.logits)).max() > 0.01
    session.click(40, 70)
    first_pass = batches(session)[3][0]
    assert session.probability[0] == region
    np.testing.assert_array_equal(first_pass[5], before)


def test_early_and_shallow_clicks_are_not_refined():
    for region, passes in (
        ({"refine_from": 3}, [1, 2, 4]),
        ({"refine_depth": 1.0}, [1, 2, 3]),
        ({"refine": 0.0}, [1, 2, 3]),
    ):
        session = start(**region)
        counts = []
        for x in (OBJECT[0], 60, 66):
            session.click(x, OBJECT[1])
            counts.append(len(batches(session)))
        assert counts == passes
        assert (session._state.refinement is not None) == (passes[-1] == 4)


def test_a_box_is_not_refined_but_clicks_after_it_are():
    session = start(refine_from=1)
    session.box(25, 25, 85, 95)
    assert session._state.refinement is None
    session.click(80, 60)
    assert session._state.refinement is not None


def test_changed_parameters_keep_the_refinement():
    session = start()
    session.click(*OBJECT)
    session.click(80, 60)
    passes, refinement = len(batches(session)), session._state.refinement
    session.set_parameters(cut_lambda=0.3)
    assert len(batches(session)) == passes
    assert session._state.refinement is refinement


def test_a_refinement_is_counted_in_the_memory():
    plain, refined = start(refine=0.0), start()
    for session in (plain, refined):
        session.click(*OBJECT)
        session.click(80, 60)
    assert refined._state.nbytes >= plain._state.nbytes - 1000 + 2 * S * S


def lopsided(x):
    """Depends on the column: a mirrored input gives another answer."""
    return 3 * x[3] - 3 * x[4] + x[0] + np.linspace(-2, 2, S, dtype=np.float32)


def test_predictions_are_averaged_with_the_mirrored_ones():
    sessions = [start(refine=0.0, mirror=mirror) for mirror in (False, True)]
    for session in sessions:
        session._pipeline._predictor._logits = lopsided
        session.click(*OBJECT)
    plain, mirrored = sessions
    straight, flipped = (batch[0] for batch in batches(mirrored))
    np.testing.assert_array_equal(straight, batches(plain)[0][0])
    np.testing.assert_array_equal(flipped[:5], straight[:5, :, ::-1])
    first = lopsided(straight).astype(np.float32)
    np.testing.assert_allclose(flipped[5], probability(first)[:, ::-1], atol=1e-6)
    expected = (first + lopsided(flipped)[:, ::-1]) / 2
    np.testing.assert_allclose(mirrored._state.logits, expected, atol=1e-5)
    assert np.abs(mirrored._state.logits - plain._state.logits).max() > 1


def test_views_wider_than_the_region_are_averaged_in_one_after_the_other():
    scales = [1.25, 1.5]
    session = start(refine=0.0, mirror=True, mirror_views=scales)
    session.click(*OBJECT)
    assert len(batches(session)) == 2  # the region is the image: a further view would be the same
    session._pipeline._predictor._logits = lopsided
    session.click(80, 60)
    region, _ = session.probability
    shown = [batch[0] for batch in batches(session)[2:]]
    assert len(shown) == 3
    mean = total = lopsided(shown[0]).astype(np.float32)
    for count, (scale, seen) in enumerate(zip(scales, shown[1:], strict=True), 2):
        view = grown(region, scale, 160, 120)
        assert view != region
        flip = (slice(None), slice(None, None, -1 if count == 2 else 1))
        before = move(probability(mean), region, view, 0.0)
        np.testing.assert_allclose(seen[5][flip], before, atol=1e-5)
        found = np.ascontiguousarray(lopsided(seen)[flip], np.float32)
        total = total + move(found, view, region, None)
        mean = total / count
    np.testing.assert_allclose(session._state.logits, mean, atol=1e-5)
    mask = session.mask.copy()
    session.undo()
    session.redo()
    np.testing.assert_array_equal(session.mask, mask)


def test_a_first_look_that_shows_where_to_look_is_not_averaged():
    session = start(refine=0.0, mirror=True, max_looks=2)
    session.click(*OBJECT)
    first, closer, flipped = (batch[0] for batch in batches(session))
    assert not first[5].any()
    assert closer[5].any()
    np.testing.assert_array_equal(flipped[:5], closer[:5, :, ::-1])
    assert np.abs(closer[:3] - first[:3]).max() > 0.1


def count(monkeypatch, owner, name):
    """A list that grows with each call of a method."""
    calls, method = [], getattr(owner, name)

    def counted(*args, **options):
        calls.append(args)
        return method(*args, **options)

    monkeypatch.setattr(owner, name, counted)
    return calls


@pytest.mark.parametrize(("refine", "passes"), [(0.0, 2), (0.5, 3)])
def test_a_later_click_is_improved_before_its_only_cut(refine, passes, monkeypatch):
    session = start(refine=refine, mirror=True)
    session.click(*OBJECT)
    cuts = count(monkeypatch, Pipeline, "_decide")
    before = len(batches(session))
    session.click(80, 60)
    assert (len(cuts), len(batches(session)) - before) == (1, passes)


def test_each_closer_look_at_a_later_click_is_averaged(monkeypatch):
    session = start(refine=0.0, mirror=True, max_looks=2)
    session.click(*OBJECT)
    large = session._state.region
    session._pipeline._predictor._logits = lambda x: np.where(x[3] > 0, 4, -4).astype(np.float32)
    cuts = count(monkeypatch, Pipeline, "_decide")
    before = len(batches(session))
    session.click(50, 62)  # now the object is small
    first, mirrored, closer, mirrored_closer = (batch[0] for batch in batches(session)[before:])
    assert len(cuts) == 2
    assert session._state.region.area < 0.5 * large.area
    for one, other in ((first, mirrored), (closer, mirrored_closer)):
        np.testing.assert_array_equal(other[:5], one[:5, :, ::-1])


def test_views_of_a_region_that_stays_keep_their_colours(monkeypatch):
    session = start(mirror=True, mirror_views=[1.0, 1.3, 1.3])
    session.click(*OBJECT)
    session.click(OBJECT[0], OBJECT[1] - 4)
    region = session._state.region
    assert region.width < 100  # wider views fit
    drawn = count(monkeypatch, NetworkInput, "_show_colours")
    session.click(OBJECT[0] + 4, OBJECT[1])
    assert session._state.region == region
    assert len(drawn) == 1  # that of the crop


@given(regions, st.floats(1, 4))
def test_a_grown_region_lies_in_the_image_around_the_region(region, scale):
    width, height = region.x1 + 20, region.y1 + 50
    view = grown(region, scale, width, height)
    assert view.contains(region)
    assert Region(0, 0, width, height).contains(view)
    assert view.width == min(width, int(np.ceil(scale * region.width)))
    assert view.height == min(height, int(np.ceil(scale * region.height)))
    assert grown(region, 1.0, width, height) == region


def test_a_model_without_previous_probability_is_averaged_as_well():
    channels = ("red", "green", "blue", "positive", "negative")
    session = ClickSession(
        prepare_pixels(picture()),
        FakePredictor(region=REFINE | {"refine": 0.0, "mirror": True}, channels=channels),
    )
    session._pipeline._predictor._logits = lopsided
    session.click(*OBJECT)
    straight, flipped = (batch[0] for batch in batches(session))
    np.testing.assert_array_equal(flipped, straight[..., ::-1])


def test_the_mirrored_input_shows_excluded_pixels_as_background():
    session = start(refine=0.0, mirror=True)
    session.click(*OBJECT)
    taken = session.mask.copy()
    session.next_object(exclude_finished=True)
    session.click(OBJECT[0] + 60, OBJECT[1])
    assert not (session.mask & taken).any()
    shown = batches(session)[3][0, 5, :, ::-1]
    region, _ = session.probability
    inside = cv2.resize(taken[region.slices].astype(np.uint8), (S, S)) > 0
    inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3))) > 0
    assert inside.any()
    assert shown[inside].max() < 0.01


def test_mirrored_predictions_are_made_when_the_policy_says():
    for region, passes in (
        ({}, [2, 4, 6]),
        ({"mirror_from": 2}, [1, 3, 5]),
        ({"mirror_from": 2, "mirror_depth": 1.0}, [1, 2, 3]),
        ({"mirror_depth": 1.0}, [2, 3, 4]),  # the first click has no outline to be near to
        ({"refine": 0.5}, [2, 5, 8]),
    ):
        session = start(**({"refine": 0.0, "mirror": True} | region))
        counts = []
        for x in (OBJECT[0], 60, 66):
            session.click(x, OBJECT[1])
            counts.append(len(batches(session)))
        assert counts == passes, region


def test_a_box_alone_is_not_mirrored():
    session = start(mirror=True)
    session.box(25, 25, 85, 95)
    assert len(batches(session)) == 2
