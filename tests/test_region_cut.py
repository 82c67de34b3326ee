"""Large regions are cut on a reduced image, uncertain ones coarse first; clicks hold."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from fakes import FakePredictor, picture

from clickcut.cut import Cut, RegionCut, region_cut
from clickcut.cut.cut import CutProblem
from clickcut.cut.region_cut import coarse_factor, reduced_problem, reduction_factor
from clickcut.errors import CutError
from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.session import ClickSession

SEEDS = np.array([(53, 60, 1), (10, 10, -1)], np.int32)


def logits_of(pixels):
    import cv2

    object_like = (pixels[..., 0].astype(np.float32) - 120) / 12
    return cv2.resize(cv2.GaussianBlur(object_like, (0, 0), 4), (64, 64))


def test_small_regions_are_cut_at_every_pixel():
    image = prepare_pixels(picture())
    region = Region(0, 0, 160, 120)
    logits = logits_of(image.pixels)
    shrunk = 4.0 * (160 * 120) ** 0.5 / region_cut.SEED_SIDE
    expected = Cut(image.edges).solve(logits, region, SEEDS, 1.0, shrunk)
    mask = RegionCut(image.pyramid, "grid").solve(logits, region, SEEDS, 1.0, 4.0)
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("region", [Region(0, 0, 160, 120), Region(3, 5, 158, 119)])
def test_a_reduced_cut_nearly_equals_the_full_one(monkeypatch, region):
    image = prepare_pixels(picture())
    logits = logits_of(image.pixels[region.slices])
    full = RegionCut(image.pyramid, "grid").solve(logits, region, SEEDS, 1.0, 1.5)
    monkeypatch.setattr(region_cut, "MAX_PIXELS", 160 * 120 / 7)
    assert reduction_factor(region) == 3
    cut = RegionCut(image.pyramid, "grid")
    reduced = cut.solve(logits, region, SEEDS, 1.0, 1.5)
    assert reduced.shape == (region.height, region.width)
    assert (reduced & full).sum() / (reduced | full).sum() > 0.9
    for x, y, sign in SEEDS:
        assert reduced[y - region.y0, x - region.x0] == (sign > 0)
    assert cut.nbytes > 0


def test_opposite_clicks_side_by_side_hold_in_a_reduced_cut(monkeypatch):
    monkeypatch.setattr(region_cut, "MAX_PIXELS", 500)
    session = ClickSession(prepare_pixels(picture()), FakePredictor())
    session.click(53, 60)
    session.click(54, 60, positive=False)
    assert session.mask[60, 53]
    assert not session.mask[60, 54]


def test_sigma_of_the_user_counts_in_a_reduced_cut(monkeypatch):
    monkeypatch.setattr(region_cut, "MAX_PIXELS", 5000)
    image = prepare_pixels(picture())
    session = ClickSession(image, FakePredictor())
    session.click(53, 60)
    before = session.mask.copy()
    session.set_parameters(cut_sigma=500.0, cut_lambda=0.05)
    assert (session.mask != before).any()


def test_memory_of_reduced_images_is_counted(monkeypatch):
    image = prepare_pixels(picture())
    before = image.nbytes
    image.pyramid.at(2)
    assert image.nbytes >= before + 80 * 60 * 3


def uncertain_logits(pixels, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.15, (64, 64))
    return (0.08 * logits_of(pixels) + noise).astype(np.float32)


def detour_for_small_images(monkeypatch):
    """Images of 160 x 120 are cut coarse first at a quarter when 5 % of their pixels are weak."""
    monkeypatch.setattr(region_cut, "COARSE_PIXELS", 160 * 120 / 16)
    monkeypatch.setattr(region_cut, "WEAK_PIXELS", 160 * 120 / 20)


def test_only_large_uncertain_regions_are_cut_coarse_first(monkeypatch):
    pixels = picture()
    region = Region(0, 0, 160, 120)
    task = CutProblem(uncertain_logits(pixels), region, SEEDS, 1.0, 1.5)
    assert coarse_factor(task) == 1  # too small to be worth it
    detour_for_small_images(monkeypatch)
    assert coarse_factor(task) == 4
    assert coarse_factor(task._replace(logits=task.logits + np.float32(3))) == 1
    assert coarse_factor(task._replace(cut_lambda=50.0)) == 1


@pytest.mark.parametrize("cut_lambda", [1.0, 0.1])
@pytest.mark.parametrize("solver", ["grid", "pymaxflow"])
def test_an_uncertain_region_keeps_its_coarse_labels_but_for_a_band(
    monkeypatch, solver, cut_lambda
):
    image = prepare_pixels(picture())
    region = Region(0, 0, 160, 120)
    logits = uncertain_logits(image.pixels) / np.float32(cut_lambda)
    arguments = logits, region, SEEDS, cut_lambda, 1.5
    exact = Cut(image.edges).solve(*arguments)
    detour_for_small_images(monkeypatch)
    mask = RegionCut(image.pyramid, solver).solve(*arguments)
    task = reduced_problem(CutProblem(*arguments), 4)
    task = task._replace(cut_lambda=task.cut_lambda * region_cut.COARSE_LAMBDA)
    coarse = Cut(image.pyramid.at(4)).solve(*task)
    labels = coarse.repeat(4, 0).repeat(4, 1)
    assert 0.02 < labels.mean() < 0.9
    far = np.ones_like(mask)
    for y, x in np.argwhere(naive.outline(coarse)):
        far[max(0, 4 * y - 8) : 4 * y + 12, max(0, 4 * x - 8) : 4 * x + 12] = False
    assert far.mean() > 0.3
    np.testing.assert_array_equal(mask[far], labels[far])
    assert (mask & exact).sum() / (mask | exact).sum() > 0.85
    for x, y, sign in SEEDS:
        assert mask[y, x] == (sign > 0)


@pytest.mark.parametrize("sigma", [0.0, 9.0])
def test_a_cut_that_is_coarse_first_does_not_depend_on_the_past(monkeypatch, sigma):
    detour_for_small_images(monkeypatch)
    image = prepare_pixels(picture())
    edges = image.pyramid.with_sigma(sigma) if sigma else image.pyramid
    warm = RegionCut(edges, "grid")
    coarse = 0
    for n, region in enumerate(
        [Region(0, 0, 160, 120), Region(0, 0, 160, 120), Region(7, 9, 150, 120)] * 3
    ):
        logits = uncertain_logits(image.pixels[region.slices], seed=n)
        logits *= np.float32(1 if n % 4 else 12)
        task = CutProblem(logits, region, SEEDS[: 1 + n % 2], 1.0, 1.5)
        coarse += coarse_factor(task) > 1
        for solver in ("grid", "pymaxflow"):
            fresh = RegionCut(edges, solver).solve(*task)
            np.testing.assert_array_equal(warm.solve(*task), fresh)
    assert 4 <= coarse < 9


@pytest.mark.parametrize("cut_lambda", [3.0, 0.5, 0.0])
@pytest.mark.parametrize("samples", [64, 160, 384])
def test_only_a_band_around_the_coarse_outline_stays_open(samples, cut_lambda):
    """An outline at column 80 of 160; coarse pixels of 4, hence a band of 2.4 pixels each side."""
    region = Region(0, 0, 160, 120)
    logits = np.random.default_rng(0).normal(0, 1, (samples, samples)).astype(np.float32)
    mask = np.zeros((30, 40), bool)
    mask[:, 20:] = True
    task = CutProblem(logits, region, SEEDS, cut_lambda, 1.5)
    banded = region_cut._in_band(task, mask, Region(0, 0, 40, 30), 4)
    assert banded.region == region
    assert banded.cut_lambda * 12 > 4 + 4 / 2**0.5  # more than all edges of a pixel
    before, after = cut_lambda * logits, np.float32(banded.cut_lambda) * banded.logits
    columns = (np.arange(samples) + 0.5) * 160 / samples
    is_open = np.isclose(before, after, atol=1e-6).all(axis=0)
    width = max(160 / samples, 2.4)
    assert is_open[np.abs(columns - 80) < width - 160 / samples].all()
    assert not is_open[np.abs(columns - 80) > width + 160 / samples].any()
    certain = np.where(columns > 80, np.float32(12), np.float32(-12))
    np.testing.assert_array_equal(
        banded.logits[:, ~is_open], np.tile(certain[~is_open], (samples, 1))
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused_coarse_or_not(monkeypatch, value):
    detour_for_small_images(monkeypatch)
    image = prepare_pixels(picture())
    cut = RegionCut(image.pyramid, "grid")
    region = Region(0, 0, 160, 120)
    good = uncertain_logits(image.pixels)
    before = cut.solve(good, region, SEEDS, 1.0, 1.5)
    bad = good.copy()
    bad[5, 5] = value
    with pytest.raises(CutError, match="NaN or infinite"):
        cut.solve(bad, region, SEEDS, 1.0, 1.5)
    np.testing.assert_array_equal(cut.solve(good, region, SEEDS, 1.0, 1.5), before)


def test_a_seed_disc_is_small_beside_its_region():
    image = prepare_pixels(np.full((400, 400, 3), 90, np.uint8))
    logits = np.full((64, 64), -3, np.float32)
    seeds = np.array([(200, 200, 1)], np.int32)
    cut = RegionCut(image.pyramid, "grid")
    areas = {
        side: int(
            cut.solve(
                logits,
                Region(200 - side // 2, 200 - side // 2, 200 + side // 2, 200 + side // 2),
                seeds,
                5.0,
                5.0,
            ).sum()
        )
        for side in (400, 160, 80)
    }
    assert areas == {400: 81, 160: 13, 80: 5}  # discs of 5, 2.08 and 1.04 pixels


def test_a_lambda_of_nearly_nothing_counts_as_nothing():
    image = prepare_pixels(picture())
    cut = RegionCut(image.pyramid, "grid")
    logits = np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float32)
    region = Region(0, 0, 160, 120)
    none = cut.solve(logits, region, SEEDS, 0.0, 1.5)
    np.testing.assert_array_equal(cut.solve(logits, region, SEEDS, 1e-9, 1.5), none)
    assert (cut.solve(logits, region, SEEDS, 1.0, 1.5) != none).any()
    with pytest.raises(CutError, match="cut_lambda"):
        cut.solve(logits, region, SEEDS, -1e-9, 1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": Region(5, 5, 5, 9)}, "region is empty"),
        ({"region": Region(9, 5, 5, 9)}, "region is empty"),
        ({"region": Region(0, 0, 161, 120)}, "beyond the image"),
        ({"logits": np.zeros((64, 64))}, "float32"),
        ({"logits": np.zeros(64, np.float32)}, "shape"),
        ({"seeds": [(1, 1, 1)]}, "seeds must be"),
        ({"seed_radius": 300.0}, "seed_radius"),
    ],
)
def test_bad_arguments_are_named_as_given_also_where_the_image_is_reduced(
    monkeypatch, change, message
):
    monkeypatch.setattr(region_cut, "MAX_PIXELS", 500)
    cut = RegionCut(prepare_pixels(picture()).pyramid, "grid")
    good = {
        "logits": np.zeros((64, 64), np.float32),
        "region": Region(0, 0, 160, 120),
        "seeds": SEEDS,
        "cut_lambda": 1.0,
        "seed_radius": 1.5,
    }
    with pytest.raises(CutError, match=message):
        cut.solve(**{**good, **change})


def test_a_sample_that_is_not_finite_is_found_wherever_it_is(monkeypatch):
    detour_for_small_images(monkeypatch)
    cut = RegionCut(prepare_pixels(picture()).pyramid, "grid")
    for at in np.random.default_rng(0).integers(0, 512, (20, 2)):
        logits = np.full((512, 512), 0.01, np.float32)
        logits[tuple(at)] = np.nan
        with pytest.raises(CutError, match="NaN or infinite"):
            cut.solve(logits, Region(0, 0, 160, 120), SEEDS, 1.0, 1.5)


def test_large_logits_count_as_clipped(monkeypatch):
    detour_for_small_images(monkeypatch)
    image = prepare_pixels(picture())
    logits = uncertain_logits(image.pixels)
    logits[20:40, 20:40] = 60
    arguments = Region(0, 0, 160, 120), SEEDS, 0.3, 1.5
    mask = RegionCut(image.pyramid, "grid").solve(logits, *arguments)
    clipped = RegionCut(image.pyramid, "grid").solve(np.clip(logits, -12, 12), *arguments)
    np.testing.assert_array_equal(mask, clipped)
