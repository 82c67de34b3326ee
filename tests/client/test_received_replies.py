"""Replies of a hostile server: refused as the server's fault, whatever they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickcut.client.replies import check_image, mask_of, models_of, probability_of, updated_mask
from clickcut.encoding import to_rle
from clickcut.errors import ServerError
from clickcut.v1 import clickcut_pb2 as pb

IMAGE = pb.ImageInfo(width=8, height=6)
BEFORE = np.zeros((6, 8), np.bool_)
UINT32 = st.one_of(st.integers(0, 12), st.sampled_from([2**16, 2**31 - 1, 2**31, 2**32 - 1]))


def rectangle(x=0, y=0, width=8, height=6):
    return pb.Rectangle(x=x, y=y, width=width, height=height)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2**32 - 1, 2**32 - 1), (2**20, 2**12)])
def test_an_impossible_image_size_is_refused(size):
    with pytest.raises(ServerError, match="an image of"):
        check_image(pb.ImageInfo(width=size[0], height=size[1]))


def test_a_part_of_a_mask_lands_in_its_rectangle():
    part = np.ones((2, 3), np.bool_)
    result = pb.Result(
        rle=pb.Rle(height=2, width=3, counts=to_rle(part)), rectangle=rectangle(4, 1, 3, 2), area=6
    )
    mask = updated_mask(BEFORE, result, IMAGE)
    assert mask is not None
    assert np.argwhere(mask).min(0).tolist() == [1, 4]
    assert mask.sum() == 6
    assert not BEFORE.any()


@given(UINT32, UINT32, UINT32, UINT32, UINT32, UINT32, st.binary(max_size=12))
def test_any_mask_fits_the_image_or_is_refused(x, y, width, height, rows, columns, counts):
    result = pb.Result(
        rle=pb.Rle(height=rows, width=columns, counts=counts),
        rectangle=rectangle(x, y, width, height),
        area=1,
    )
    try:
        mask = updated_mask(BEFORE, result, IMAGE)
    except ServerError:
        return
    assert mask is not None
    assert mask.shape == BEFORE.shape


@given(UINT32, UINT32, UINT32, UINT32, UINT32, UINT32, st.binary(max_size=64))
def test_any_probability_map_fits_the_image_or_is_refused(
    x, y, width, height, rows, columns, values
):
    probability = pb.Probability(
        region=rectangle(x, y, width, height), height=rows, width=columns, values=values
    )
    try:
        found = probability_of(pb.Result(probability=probability), IMAGE)
    except ServerError:
        return
    assert found.shape == BEFORE.shape


def test_a_probability_map_shorter_than_it_says_is_refused():
    probability = pb.Probability(region=rectangle(), height=2, width=2, values=bytes(12))
    with pytest.raises(ServerError, match="2 x 2 values in 12 bytes"):
        probability_of(pb.Result(probability=probability), IMAGE)


@pytest.mark.parametrize(
    "rectangle", [rectangle(1), rectangle(0, 0, 7), rectangle(2**32 - 1, 0, 8, 6)]
)
def test_a_mask_beside_its_rectangle_is_refused(rectangle):
    rle = pb.Rle(height=6, width=8, counts=to_rle(~BEFORE))
    reply = pb.SegmentReply(image=IMAGE, result=pb.Result(rle=rle, rectangle=rectangle, area=48))
    with pytest.raises(ServerError, match=r"a rectangle of|a mask of"):
        mask_of(reply)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_damaged_metadata_is_refused(text):
    with pytest.raises(ServerError, match="metadata"):
        models_of(pb.ListModelsReply(models=[pb.Model(name="default", metadata_json=text)]))
