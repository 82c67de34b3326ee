"""Valid polygons: checked by Shapely, on masks of every kind and at every tolerance."""

from __future__ import annotations

from pathlib import Path

import cv2
import naive
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_cases import Mask, blob, each_mask, masks

from clickcut.errors import EventError
from clickcut.polygons import MAX_OUTLINES, Polygon, thinning, to_polygons, valid

TOLERANCES = [0.0, 0.5, 1.0, 2.5, 10.0]


def shapes_of(polygons: list[Polygon]) -> list[shapely.Polygon]:
    """One shape for each outline, with the holes that name it."""
    holes: dict[int, list[np.ndarray]] = {}
    for polygon in polygons:
        assert (polygon.parent >= 0) == polygon.hole
        if polygon.hole:
            assert not polygons[polygon.parent].hole
            holes.setdefault(polygon.parent, []).append(polygon.points)
    return [
        shapely.Polygon(polygon.points, holes.get(index))
        for index, polygon in enumerate(polygons)
        if not polygon.hole
    ]


def check_valid(mask: Mask, tolerance: float) -> shapely.MultiPolygon:
    polygons = to_polygons(mask, tolerance, valid=True)
    shape = shapely.MultiPolygon(shapes_of(polygons))
    assert shape.is_valid, shapely.is_valid_reason(shape)
    for polygon in polygons:
        ring = shapely.LinearRing(polygon.points)
        assert ring.is_simple
        assert ring.is_ccw != polygon.hole  # y is down: clockwise as displayed
    if tolerance == 0:
        assert shape.area == np.count_nonzero(mask)
        y, x = np.indices(mask.shape)
        np.testing.assert_array_equal(shapely.contains_xy(shape, x, y), mask)
    return shape


@each_mask
@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_valid_polygons_of_masks_of_every_kind(mask: Mask, tolerance: float) -> None:
    check_valid(mask, tolerance)


@given(masks(), st.sampled_from(TOLERANCES))
@settings(max_examples=500)
def test_valid_polygons_of_random_masks(mask: Mask, tolerance: float) -> None:
    check_valid(mask, tolerance)


@given(st.integers(0, 10_000), st.sampled_from(TOLERANCES), st.floats(0.1, 0.9))
@settings(max_examples=60, deadline=None)
def test_valid_polygons_of_noise(seed: int, tolerance: float, density: float) -> None:
    check_valid(np.random.default_rng(seed).random((40, 50)) < density, tolerance)


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("thickness", [1, 2])
def test_valid_polygons_of_lines_of_one_pixel(thickness: int, tolerance: float) -> None:
    rng, canvas = np.random.default_rng(thickness), np.zeros((120, 160), np.uint8)
    for _ in range(12):
        ends = rng.integers(0, (160, 120), (2, 2)).tolist()
        cv2.line(canvas, *ends, 1, thickness)
    cv2.circle(canvas, (80, 60), 40, 1, 1)
    check_valid(canvas.view(np.bool_), tolerance)


@pytest.mark.parametrize("tolerance", [1.0, 3.0])
def test_a_hole_near_the_outline_stays_inside(tolerance: float) -> None:
    mask = np.ones((40, 60), np.bool_)
    mask[:4] = False
    mask[1:4, 20:40] = True  # a bump that is cut off
    mask[3, 22:38] = False  # a hole in it
    check_valid(mask, tolerance)


def test_pixels_that_touch_at_a_corner_become_two_outlines() -> None:
    mask = np.array([[True, False], [False, True]])
    assert len(to_polygons(mask)) == 1
    first, second = to_polygons(mask, valid=True)
    assert not first.hole
    assert not second.hole


def test_a_ring_that_closes_at_a_corner_has_a_hole() -> None:
    mask = np.ones((4, 4), np.bool_)
    mask[1:3, 1:3] = False
    mask[0, 0] = False
    outline, hole = to_polygons(mask, valid=True)
    assert (outline.parent, hole.parent) == (-1, 0)
    check_valid(mask, 0)


@pytest.mark.parametrize("tolerance", [1.0, 2.0, 3.0])  # pixels; a step of a line is 0.7 high
def test_valid_outlines_stay_near_and_are_simple(tolerance: float) -> None:
    mask = blob(300, 400)
    exact, simple = check_valid(mask, 0), check_valid(mask, tolerance)
    assert shapely.hausdorff_distance(exact.boundary, simple.boundary) <= tolerance + 0.51
    assert shapely.get_num_coordinates(simple) < 0.8 * shapely.get_num_coordinates(exact)


def test_the_largest_outline_is_never_left_out() -> None:
    mask = np.zeros((30, 30), np.bool_)
    mask[5:8, 5:9] = mask[20, 20] = True
    (polygon,) = to_polygons(mask, 100.0, valid=True)
    assert shapely.Polygon(polygon.points).area == 12


def test_too_many_valid_outlines_are_refused() -> None:
    mask = np.zeros((303, 303), np.bool_)
    mask[::3, ::3] = True
    assert mask.sum() > MAX_OUTLINES
    with pytest.raises(EventError, match="a tolerance of at least 2 pixels"):
        to_polygons(mask, valid=True)


@pytest.mark.kernels
@given(st.integers(0, 10_000), st.floats(0.3, 6))
@settings(max_examples=60, deadline=None)
def test_thinning_is_that_of_its_definition(seed: int, tolerance: float) -> None:
    tolerance += 1e-7  # a distance of exactly 1.2, say, would be decided by rounding
    rng = np.random.default_rng(seed)
    noise = rng.random((5, 6)).astype(np.float32)
    mask = cv2.resize(noise, (24, 20), interpolation=cv2.INTER_CUBIC) > rng.uniform(0.3, 0.7)
    mask |= rng.random(mask.shape) < 0.03
    loops = valid._loops(mask)
    if not loops.rings.count:
        return
    rings = loops.rings
    thinned = valid._thinned(loops, tolerance)
    following = np.arange(1, len(rings.points) + 1)
    following[rings.starts[1:] - 1] = rings.starts[:-1]
    fixed = loops.touching.copy()
    for at in np.flatnonzero(loops.touching):
        fixed[following[at]] = fixed[np.flatnonzero(following == at)] = True
    kept = naive.thinned(
        rings.points, rings.starts, fixed, tolerance, thinning.ROUNDS, thinning.MAX_SKIPPED
    )
    np.testing.assert_array_equal(thinned.points, rings.points[kept])


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.0])
def test_valid_polygons_of_real_masks(shared_data: Path, tolerance: float) -> None:
    files = sorted((shared_data / "grabcut").rglob("*.bmp"))[:12]
    for file in files or sorted((shared_data / "berkeley").rglob("*.png"))[:12]:
        grey = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        check_valid(grey > 127, tolerance)
