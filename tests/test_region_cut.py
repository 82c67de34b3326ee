"""Large regions are cut on a reduced image: same object, smooth outline, clicks hold."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakePredictor, picture

from clickcut import region_cut
from clickcut.cut import Cut
from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.region_cut import RegionCut, reduction_factor
from clickcut.session import ClickSession

SEEDS = np.array([(53, 60, 1), (10, 10, -1)], np.int32)


def logits_of(pixels):
    import cv2

    object_like = (pixels[..., 0].astype(np.float32) - 120) / 12
    return cv2.resize(cv2.GaussianBlur(object_like, (0, 0), 4), (64, 64))


def test_small_regions_are_cut_at_every_pixel():
    image = prepare_pixels(picture())
    region = Region(0, 0, 160, 120)
    arguments = logits_of(image.pixels), region, SEEDS, 1.0, 3.0
    expected = Cut(image.edges).solve(*arguments)
    np.testing.assert_array_equal(RegionCut(image, 0.0, "grid").solve(*arguments), expected)


@pytest.mark.parametrize("region", [Region(0, 0, 160, 120), Region(3, 5, 158, 119)])
def test_a_reduced_cut_nearly_equals_the_full_one(monkeypatch, region):
    image = prepare_pixels(picture())
    logits = logits_of(image.pixels[region.slices])
    full = RegionCut(image, 0.0, "grid").solve(logits, region, SEEDS, 1.0, 3.0)
    monkeypatch.setattr(region_cut, "MAX_PIXELS", 160 * 120 / 7)
    assert reduction_factor(region) == 3
    cut = RegionCut(image, 0.0, "grid")
    reduced = cut.solve(logits, region, SEEDS, 1.0, 3.0)
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
    image.edges_at(2)
    assert image.nbytes >= before + 80 * 60 * 3
