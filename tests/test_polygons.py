"""Outlines of masks: exact, simplified, and too many to be given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from mask_cases import Mask, blob, coco_mask, each_mask, masks
from pycocotools import mask as coco

from clickcut.errors import EventError
from clickcut.polygons import MAX_CORNERS, MAX_OUTLINES, Polygon, joined, outlines, to_polygons
from clickcut.selection import bounding_box


def fill(polygons: list[Polygon], shape: tuple[int, int]) -> Mask:
    """Even-odd filling, the slow and obvious way: rays from each pixel centre to the right."""
    y, x = np.indices(shape)
    inside = np.zeros(shape, np.bool_)
    for polygon in polygons:
        ends = np.roll(polygon.points, -1, axis=0)
        for (xa, ya), (xb, yb) in zip(polygon.points, ends, strict=True):
            if ya != yb:
                crosses = (min(ya, yb) <= y) & (y < max(ya, yb))
                inside ^= crosses & (xa + (y - ya) * (xb - xa) / (yb - ya) > x)
    return inside


def signed_area(polygon: Polygon) -> float:
    """Positive for clockwise as displayed, y being down."""
    x, y = polygon.points.T.astype(np.float64)
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def check_exact(mask: Mask) -> None:
    polygons = to_polygons(mask)
    np.testing.assert_array_equal(fill(polygons, mask.shape), mask)
    areas = [signed_area(p) for p in polygons]
    assert sum(areas) == np.count_nonzero(mask)
    assert [a < 0 for a in areas] == [p.hole for p in polygons]
    objects = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    assert sum(not p.hole for p in polygons) == objects


@each_mask
def test_exact_polygons_fill_to_the_mask(mask: Mask) -> None:
    check_exact(mask)


@given(masks())
@settings(max_examples=300)
def test_exact_polygons_of_random_masks(mask: Mask) -> None:
    check_exact(mask)


def test_a_pixel_is_a_square_around_its_centre() -> None:
    mask = np.zeros((9, 6), np.bool_)
    mask[7, 3] = True
    (polygon,) = to_polygons(mask)
    assert polygon.points.tolist() == [[2.5, 6.5], [3.5, 6.5], [3.5, 7.5], [2.5, 7.5]]
    assert not polygon.hole
    box = bounding_box(mask)
    assert box is not None
    (moved,) = to_polygons(mask[box.slices], 0, box.x0, box.y0)
    assert moved.points.tolist() == polygon.points.tolist()


def test_polygons_fill_to_the_mask_in_coco_as_well() -> None:
    mask = blob(150, 200)
    filled = np.zeros(mask.shape, np.bool_)
    for polygon in to_polygons(mask):
        (rle,) = coco.frPyObjects([(polygon.points + 0.5).ravel().tolist()], *mask.shape)
        filled ^= coco_mask(rle["counts"], *mask.shape)
    np.testing.assert_array_equal(filled, mask)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])  # pixels
def test_simplified_polygons_stay_near_the_outline(tolerance: float) -> None:
    mask = blob(300, 400)
    exact, simple = to_polygons(mask), to_polygons(mask, tolerance)
    outline = np.concatenate([p.points for p in exact])
    assert sum(len(p.points) for p in simple) < len(outline)
    start = np.concatenate([p.points for p in simple])[:, None]
    along = np.concatenate([np.roll(p.points, -1, axis=0) for p in simple])[:, None] - start
    offset = outline[None] - start
    at = np.clip((offset * along).sum(-1) / (along**2).sum(-1), 0, 1)
    distance = np.hypot(*np.moveaxis(offset - at[..., None] * along, -1, 0)).min(axis=0)
    assert distance.max() <= tolerance + 1e-3


def test_small_outlines_are_left_out_but_never_all() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[20:50, 10:50] = True
    mask[3, 5] = True
    assert len(to_polygons(mask)) == 2
    (large,) = to_polygons(mask, 2.0)
    assert abs(signed_area(large)) == 1200
    alone = np.zeros((9, 9), np.bool_)
    alone[4, 4] = True
    assert len(to_polygons(alone, 5.0)) == 1


# ---- too many


def dots(number: int, size: int = 1, gap: int = 1) -> Mask:
    """`number` squares on a square grid."""
    side = -(-int(np.ceil(np.sqrt(number))) // 1)
    cell = size + gap
    mask = np.zeros((side * cell, side * cell), np.bool_)
    for dy in range(size):
        for dx in range(size):
            mask[dy::cell, dx::cell] = True
    return mask


def test_a_mask_of_dots_is_refused_before_it_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "_cycles", None)
    mask = dots(300_000)
    with pytest.raises(EventError, match=rf"at most {MAX_CORNERS:,} are traced: remove specks"):
        to_polygons(mask, 5.0)


@pytest.mark.parametrize("tolerance", [0.0, 2.0])
def test_too_many_outlines_name_the_tolerance_that_will_do(
    tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "approxPolyDP", None)
    mask = np.pad(dots(MAX_OUTLINES + 500, 3, 2), ((0, 200), (0, 0)))
    with pytest.raises(EventError, match="a tolerance of at least 5 pixels"):
        to_polygons(mask, tolerance)


def test_the_tolerance_that_is_named_will_do() -> None:
    mask = np.pad(dots(MAX_OUTLINES + 500, 3, 2), ((0, 200), (0, 0)))
    mask[-150:-50, 20:120] = True
    (square,) = to_polygons(mask, 5.0)
    assert abs(signed_area(square)) == 100 * 100


def test_an_outline_of_many_points_is_simplified_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mask = blob(300, 400)
    whole = to_polygons(mask, 1.0)
    monkeypatch.setattr(joined, "_PIECE", 50)
    pieces = to_polygons(mask, 1.0)
    assert [p.hole for p in whole] == [p.hole for p in pieces]
    exact = to_polygons(mask)
    for fine, simple in zip([p for p in exact if len(p.points) > 100], pieces, strict=False):
        assert len(simple.points) < len(fine.points)
    filled = fill(pieces, mask.shape)
    assert np.count_nonzero(filled != mask) < 0.05 * np.count_nonzero(mask)
