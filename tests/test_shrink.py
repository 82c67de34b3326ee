"""Shrinking by averaging: against slow code, and against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import area_average, block_means

from clickcut.region import Region
from clickcut.shrink import mean_of_blocks, shrink

pytestmark = pytest.mark.kernels


def colours(height: int, width: int, seed: int) -> np.ndarray:
    """Noise, with large parts that are black or white."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    pixels[: height // 3] = 255
    pixels[:, : width // 4] = 0
    return pixels


@st.composite
def cases(draw):
    height, width = draw(st.integers(4, 24)), draw(st.integers(4, 24))
    size = draw(st.integers(1, 4))
    x0, y0 = draw(st.integers(0, width - size)), draw(st.integers(0, height - size))
    x1, y1 = draw(st.integers(x0 + size, width)), draw(st.integers(y0 + size, height))
    return colours(height, width, draw(st.integers(0, 99))), Region(x0, y0, x1, y1), size


@settings(max_examples=60)
@given(cases())
def test_a_region_is_averaged(case):
    pixels, region, size = case
    found = shrink(pixels, region, size)
    assert np.abs(found - area_average(pixels, region, size)).max() <= 0.5 + 1e-3


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 9), st.integers(0, 99))
def test_blocks_are_averaged(height, width, side, seed):
    pixels = colours(height, width, seed)
    found = mean_of_blocks(pixels, side)
    assert np.abs(found - block_means(pixels, side)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 16, 300])
def test_blocks_are_those_of_opencv(side):
    pixels = colours(241, 318, side)
    height, width = -(-241 // side), -(-318 // side)
    below, beside = height * side - 241, width * side - 318
    whole = cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    wanted = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(mean_of_blocks(pixels, side), wanted)


@pytest.mark.parametrize("region", [Region(0, 0, 700, 500), Region(33, 21, 690, 401)])
def test_a_region_is_that_of_opencv_but_for_rounding(region):
    pixels = cv2.GaussianBlur(colours(500, 700, 1), (0, 0), 2)
    found = shrink(pixels, region, 96).astype(int)
    wanted = cv2.resize(pixels[region.slices], (96, 96), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(found - wanted).max() <= 1
    assert np.count_nonzero(found != wanted) <= 1e-3 * wanted.size


def test_white_stays_white():
    white = np.full((100, 130, 3), 255, np.uint8)
    assert (shrink(white, Region(0, 0, 130, 100), 7) == 255).all()
    assert (mean_of_blocks(white, 3) == 255).all()
