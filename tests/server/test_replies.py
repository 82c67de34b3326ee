"""Replies: what a session's state becomes on the wire, without a server."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakePredictor

from clickcut.client.replies import objects_of
from clickcut.errors import EventError
from clickcut.images import prepare_pixels
from clickcut.polygons import MAX_OUTLINES
from clickcut.server import replies
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb


def test_polygons_that_are_too_many_leave_the_mask_as_it_is() -> None:
    image = prepare_pixels(np.zeros((400, 400, 3), np.uint8))
    session = ClickSession(image, FakePredictor())
    dots = np.zeros((400, 400), np.bool_)
    dots[::3, ::3] = True
    session.start_from(dots)
    result = replies.result(session, pb.Output(polygons=True), replies.whole(image))
    assert f"more than {MAX_OUTLINES:,} outlines" in result.polygons_refused
    assert not result.polygons
    assert result.area == dots.sum()
    assert result.rle.counts
    output = pb.Output(polygons=True, polygon_tolerance=2)
    simple = replies.result(session, output, replies.whole(image))
    assert len(simple.polygons) == 1
    assert not simple.polygons_refused


def test_objects_of_too_many_runs_come_without_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MAX_OBJECT_RUNS", 60_000)
    image = prepare_pixels(np.zeros((400, 400, 3), np.uint8))
    session = ClickSession(image, FakePredictor())
    dots = np.zeros((400, 400), np.bool_)
    dots[::3, ::3] = True
    session.start_from(dots)
    output = pb.Output(objects=True)
    (alone,) = replies.result(session, output, replies.whole(image)).objects
    assert alone.rle.counts
    session.next_object()
    session.start_from(dots)
    result = replies.result(session, output, replies.whole(image))
    assert "more than 60,000 runs" in result.objects_refused
    assert [(o.area, o.HasField("rle")) for o in result.objects] == [(dots.sum(), False)] * 2
    info = pb.ImageInfo(width=400, height=400)
    with pytest.raises(EventError, match="smooth"):
        objects_of(result, info)


def test_valid_polygons_name_the_outline_of_each_hole() -> None:
    image = prepare_pixels(np.zeros((40, 60, 3), np.uint8))
    session = ClickSession(image, FakePredictor())
    mask = np.zeros((40, 60), np.bool_)
    mask[2:8, 2:8] = mask[10:30, 10:40] = True
    mask[15:20, 15:20] = False
    session.start_from(mask)
    output = pb.Output(polygons=True, valid_polygons=True)
    polygons = replies.result(session, output, replies.whole(image)).polygons
    assert [p.hole for p in polygons] == [False, False, True]
    assert [p.HasField("parent") for p in polygons] == [False, False, True]
    assert polygons[2].parent == 1
