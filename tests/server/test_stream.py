"""The `Session` stream, message by message, as the contract has it."""

from __future__ import annotations

import cv2
import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from server.harness import RawStream, ServerProcess, image_file, random_clicks

from clickcut.encoding import from_rle
from clickcut.images import digest_of
from clickcut.v1 import clickcut_pb2 as pb

WIDTH, HEIGHT = 160, 120
IMAGE = image_file(WIDTH, HEIGHT)


def opening(**fields: object) -> pb.Open:
    return pb.Open(image=IMAGE, **fields)  # type: ignore[arg-type]


def mask_of(result: pb.Result) -> NDArray[np.bool_]:
    return from_rle(result.rle.counts, result.rle.height, result.rle.width)


def click(x: float, y: float, positive: bool = True, sequence: int = 0) -> pb.SessionRequest:
    return pb.SessionRequest(sequence=sequence, click=pb.Click(x=x, y=y, negative=not positive))


def test_open_describes_the_image_and_is_empty(raw: RawStream) -> None:
    reply = raw.ask(open=opening())
    assert (reply.image.width, reply.image.height) == (WIDTH, HEIGHT)
    assert reply.image.digest == digest_of(IMAGE)
    assert reply.image.model == "toy"
    assert reply.image.estimated_sigma > 0
    assert reply.session_id
    assert not mask_of(reply.result).any()
    assert (reply.result.rectangle.width, reply.result.rectangle.height) == (WIDTH, HEIGHT)
    assert not reply.can_undo
    assert reply.memory_bytes > 0


def test_a_click_selects_and_reports(raw: RawStream) -> None:
    raw.ask(open=opening())
    reply = raw.ask(click(80, 60, sequence=1))
    mask = mask_of(reply.result)
    assert mask[60, 80]
    assert reply.result.area == np.count_nonzero(mask)
    assert (reply.sequence, reply.applied_sequence, reply.num_clicks) == (1, 1, 1)
    assert reply.can_undo
    assert not reply.can_redo
    for stage in ("maps", "network", "cut", "encode", "total"):
        assert getattr(reply.timings, stage) > 0
    parts = ("decode", "queue", "maps", "network", "cut", "encode")
    assert sum(getattr(reply.timings, p) for p in parts) <= reply.timings.total


def test_every_event_has_its_reply(raw: RawStream) -> None:
    raw.ask(open=opening())
    one = raw.ask(click(80, 60))
    line = pb.Stroke(coordinates=[20, 20, 60, 30, 60, 90], negative=True)
    two = raw.ask(stroke=line)
    assert two.num_clicks == 2
    assert not mask_of(two.result)[[20, 30, 90], [20, 60, 60]].any()
    undone = raw.ask(undo=pb.Undo())
    assert undone.result.rle == one.result.rle
    assert undone.can_redo
    assert raw.ask(redo=pb.Redo()).result.rle == two.result.rle
    reset = raw.ask(reset=pb.Reset())
    assert (reset.result.area, reset.num_clicks) == (0, 0)
    mask = raw.ask(undo=pb.Undo()).result
    assert mask.rle == two.result.rle
    started = raw.ask(initial_mask=pb.InitialMask(rle=one.result.rle))
    assert started.result.rle == one.result.rle
    other = raw.ask(next_object=pb.NextObject())
    assert (other.object_index, other.num_clicks, other.result.area) == (1, 0, 0)
    assert not other.can_undo
    raw.ask(click(80, 60))
    rough = raw.ask(set_parameters=pb.SetParameters(parameters=pb.Parameters(cut=False)))
    assert rough.timings.network == 0
    assert rough.result.area > 0
    shown = raw.ask(show=pb.Show())
    assert shown.result.rle == rough.result.rle


def test_initial_mask_as_png(raw: RawStream) -> None:
    raw.ask(open=opening())
    png = pb.Output(mask=pb.Output.MASK_FORMAT_PNG)
    reply = raw.ask(pb.SessionRequest(click=pb.Click(x=80, y=60), output=png))
    pixels = cv2.imdecode(np.frombuffer(reply.result.png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (HEIGHT, WIDTH)
    assert set(np.unique(pixels)) == {0, 255}
    raw.ask(next_object=pb.NextObject())
    started = raw.ask(initial_mask=pb.InitialMask(png=reply.result.png))
    np.testing.assert_array_equal(mask_of(started.result), pixels > 0)


def test_changed_only_adds_up_to_the_whole(server: ServerProcess, raw: RawStream) -> None:
    delta = pb.Output(changed_only=True)
    first = raw.ask(open=opening(output=delta))
    mask = mask_of(first.result)
    smaller = 0
    for k, (x, y, positive) in enumerate(random_clicks(3, 12, WIDTH, HEIGHT)):
        request = click(x, y, positive)
        if k % 4 == 1:  # not seen by this client: the next reply must make up for it
            request.output.mask = pb.Output.MASK_FORMAT_NONE
            assert raw.ask(request).result.WhichOneof("mask") is None
            continue
        result = raw.ask(request).result
        box = result.rectangle
        if box.width:
            part = mask[box.y : box.y + box.height, box.x : box.x + box.width]
            part[...] = mask_of(result)
            smaller += part.size < mask.size
        assert np.count_nonzero(mask) == result.area
    assert smaller
    whole = raw.ask(pb.SessionRequest(show=pb.Show(), output=pb.Output()))
    np.testing.assert_array_equal(mask, mask_of(whole.result))


def test_nothing_changed_has_no_mask(raw: RawStream) -> None:
    raw.ask(open=opening(output=pb.Output(changed_only=True)))
    raw.ask(click(80, 60))
    result = raw.ask(show=pb.Show()).result
    assert result.WhichOneof("mask") is None
    assert (result.rectangle.width, result.rectangle.height) == (0, 0)
    assert result.area > 0


def test_polygons_and_probability_on_request(raw: RawStream) -> None:
    raw.ask(open=opening())
    assert not raw.ask(click(80, 60)).result.polygons
    output = pb.Output(polygons=True, probability=True, mask=pb.Output.MASK_FORMAT_NONE)
    result = raw.ask(pb.SessionRequest(show=pb.Show(), output=output)).result
    outline = np.array(result.polygons[0].coordinates, np.float32).reshape(-1, 2)
    assert not result.polygons[0].hole
    assert abs(cv2.contourArea(outline)) <= result.area
    output.polygon_tolerance = 2
    coarse = raw.ask(pb.SessionRequest(show=pb.Show(), output=output)).result
    assert len(coarse.polygons[0].coordinates) < len(result.polygons[0].coordinates)
    found = result.probability
    values = np.frombuffer(found.values, "<f4").reshape(found.height, found.width)
    assert 0 <= values.min() < values.max() <= 1
    assert (found.region.width, found.region.height) == (WIDTH, HEIGHT)


def test_parameters_of_open_are_in_force(raw: RawStream) -> None:
    raw.ask(open=opening(parameters=pb.Parameters(cut=False)))
    raw.ask(click(80, 60))
    rough = raw.ask(show=pb.Show()).result.rle
    raw.ask(set_parameters=pb.SetParameters(parameters=pb.Parameters(cut=True)))
    assert raw.ask(show=pb.Show()).result.rle != rough


# ---- sequences, resuming, taking over


def test_an_event_sent_twice_is_applied_once(raw: RawStream) -> None:
    raw.ask(open=opening())
    first = raw.ask(click(80, 60, sequence=1))
    again = raw.ask(click(80, 60, sequence=1))
    assert (again.num_clicks, again.applied_sequence) == (1, 1)
    assert again.result.rle == first.result.rle
    assert raw.ask(click(30, 30, sequence=2)).num_clicks == 2
    assert raw.ask(click(30, 40)).num_clicks == 3  # without a sequence: not checked
    assert raw.ask(show=pb.Show()).applied_sequence == 2


def test_resume_goes_on_where_it_was(server: ServerProcess, raw: RawStream) -> None:
    session_id = raw.ask(open=opening()).session_id
    before = raw.ask(click(80, 60, sequence=1))
    raw.half_close()
    assert raw.status().code() == grpc.StatusCode.OK
    with RawStream(server.address) as second:
        resumed = second.ask(open=pb.Open(session_id=session_id))
        assert resumed.session_id == session_id
        assert (resumed.applied_sequence, resumed.num_clicks) == (1, 1)
        assert resumed.result.rle == before.result.rle
        assert resumed.image.digest == digest_of(IMAGE)
        assert second.ask(undo=pb.Undo()).result.area == 0


def test_a_second_stream_takes_over(server: ServerProcess, raw: RawStream) -> None:
    session_id = raw.ask(open=opening()).session_id
    raw.ask(click(80, 60))
    with RawStream(server.address) as second:
        assert second.ask(open=pb.Open(session_id=session_id)).num_clicks == 1
        end = raw.status()
        assert end.code() == grpc.StatusCode.ABORTED
        assert "another stream" in end.details()
        assert second.ask(click(30, 30)).num_clicks == 2


def test_closed_is_gone(server: ServerProcess, raw: RawStream) -> None:
    session_id = raw.ask(open=opening()).session_id
    reply = raw.ask(close=pb.Close())
    assert not reply.HasField("error")
    assert not reply.HasField("result")
    assert raw.status().code() == grpc.StatusCode.OK
    with RawStream(server.address) as second:
        second.send(pb.SessionRequest(open=pb.Open(session_id=session_id)))
        end = second.status()
        assert end.code() == grpc.StatusCode.NOT_FOUND
        assert "open a new one" in end.details()


def test_an_image_is_known_by_its_digest(server: ServerProcess, raw: RawStream) -> None:
    raw.ask(open=opening())
    with RawStream(server.address) as second:
        reply = second.ask(open=pb.Open(image_digest=digest_of(IMAGE)))
        assert reply.image.width == WIDTH
        assert reply.timings.decode == 0


# ---- what is refused


REFUSED_OPENINGS = {
    "not open": (pb.SessionRequest(click=pb.Click()), "INVALID_ARGUMENT", "must be `open`"),
    "nothing": (pb.SessionRequest(), "INVALID_ARGUMENT", "must be `open`"),
    "no source": (pb.SessionRequest(open=pb.Open()), "INVALID_ARGUMENT", "needs an image"),
    "unknown session": (
        pb.SessionRequest(open=pb.Open(session_id="unknown")),
        "NOT_FOUND",
        "open a new one",
    ),
    "unknown image": (
        pb.SessionRequest(open=pb.Open(image_digest="0" * 64)),
        "NOT_FOUND",
        "send the image",
    ),
    "no digest": (
        pb.SessionRequest(open=pb.Open(image_digest="../../etc/passwd")),
        "INVALID_ARGUMENT",
        "64 lower-case hex digits",
    ),
    "unknown model": (
        pb.SessionRequest(open=opening(model="gpt")),
        "INVALID_ARGUMENT",
        "this server has toy",
    ),
    "bad parameters": (
        pb.SessionRequest(open=opening(parameters=pb.Parameters(threshold=7))),
        "INVALID_ARGUMENT",
        "threshold",
    ),
    "bad tolerance": (
        pb.SessionRequest(open=opening(output=pb.Output(polygon_tolerance=float("nan")))),
        "INVALID_ARGUMENT",
        "tolerance",
    ),
}


@pytest.mark.parametrize(
    ("request_", "code", "words"), REFUSED_OPENINGS.values(), ids=REFUSED_OPENINGS.keys()
)
def test_an_opening_that_is_refused(
    raw: RawStream, request_: pb.SessionRequest, code: str, words: str
) -> None:
    raw.send(request_)
    end = raw.status()
    assert end.code().name == code
    assert words in end.details()
    assert dict(end.trailing_metadata())["clickcut-error"].endswith("Error")


NAN, INF = float("nan"), float("inf")
REFUSED_EVENTS = {
    "left of the image": (click(-0.6, 5), "outside the image"),
    "right of the image": (click(WIDTH - 0.5, 5), "outside the image"),
    "far away": (click(1e300, 5), "outside the image"),
    "nan": (click(NAN, 5), "finite"),
    "infinite": (click(5, INF), "finite"),
    "nothing to undo": (pb.SessionRequest(undo=pb.Undo()), "nothing to undo"),
    "nothing to redo": (pb.SessionRequest(redo=pb.Redo()), "nothing to redo"),
    "a second open": (pb.SessionRequest(open=opening()), "must be an event"),
    "no event": (pb.SessionRequest(), "must be an event"),
    "an odd stroke": (pb.SessionRequest(stroke=pb.Stroke(coordinates=[1, 2, 3])), "x and y"),
    "an empty stroke": (pb.SessionRequest(stroke=pb.Stroke()), "stroke"),
    "a stroke that leaves": (
        pb.SessionRequest(stroke=pb.Stroke(coordinates=[1, 2, 999, 2])),
        "outside the image",
    ),
    "a stroke to nowhere": (
        pb.SessionRequest(stroke=pb.Stroke(coordinates=[1, 2, NAN, 2])),
        "finite",
    ),
    "an endless stroke": (
        pb.SessionRequest(stroke=pb.Stroke(coordinates=[1.0] * 200_000)),
        "at most",
    ),
    "no mask": (pb.SessionRequest(initial_mask=pb.InitialMask()), "neither rle nor png"),
    "another size": (
        pb.SessionRequest(initial_mask=pb.InitialMask(rle=pb.Rle(height=3, width=4, counts=b"<"))),
        "4 x 3 pixels",
    ),
    "a huge mask": (
        pb.SessionRequest(
            initial_mask=pb.InitialMask(rle=pb.Rle(height=2**31, width=2**31, counts=b"<"))
        ),
        "2147483648 x 2147483648",
    ),
    "a hostile mask": (
        pb.SessionRequest(
            initial_mask=pb.InitialMask(rle=pb.Rle(height=HEIGHT, width=WIDTH, counts=b"oooo" * 99))
        ),
        "RLE",
    ),
    "a bad png": (pb.SessionRequest(initial_mask=pb.InitialMask(png=b"\x89PNG")), "PNG"),
    "lambda": (
        pb.SessionRequest(set_parameters=pb.SetParameters(parameters=pb.Parameters(cut_lambda=-1))),
        "cut_lambda",
    ),
    "sigma": (
        pb.SessionRequest(set_parameters=pb.SetParameters(parameters=pb.Parameters(cut_sigma=NAN))),
        "cut_sigma",
    ),
    "tolerance": (
        pb.SessionRequest(show=pb.Show(), output=pb.Output(polygon_tolerance=-1)),
        "tolerance",
    ),
    "huge tolerance": (
        pb.SessionRequest(show=pb.Show(), output=pb.Output(polygon_tolerance=1e300)),
        "tolerance",
    ),
    "format": (pb.SessionRequest(show=pb.Show(), output=pb.Output(mask=99)), "format"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("request_", "words"), REFUSED_EVENTS.values(), ids=REFUSED_EVENTS.keys())
def test_an_event_that_is_refused_leaves_the_session(
    raw: RawStream, request_: pb.SessionRequest, words: str
) -> None:
    raw.ask(open=opening())
    clicks = 0
    if "nothing" not in words:
        raw.ask(click(80, 60, sequence=1))
        clicks = 1
    before = raw.ask(show=pb.Show())
    reply = raw.ask(request_)
    assert reply.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert words in reply.error.message
    assert not reply.HasField("result")
    assert reply.num_clicks == clicks
    after = raw.ask(show=pb.Show())
    assert after.result.rle == before.result.rle
    assert raw.ask(click(40, 40, sequence=2)).num_clicks == clicks + 1


def test_a_click_with_the_other_sign_wins(raw: RawStream) -> None:
    raw.ask(open=opening())
    assert mask_of(raw.ask(click(80, 60)).result)[60, 80]
    assert not mask_of(raw.ask(click(80, 60, positive=False)).result)[60, 80]
    assert mask_of(raw.ask(undo=pb.Undo()).result)[60, 80]


@pytest.mark.slow
def test_a_thousand_clicks_in_one_session(raw: RawStream) -> None:
    raw.ask(open=opening(output=pb.Output(changed_only=True)))
    memory = []
    for k, (x, y, positive) in enumerate(random_clicks(1, 1000, WIDTH, HEIGHT), start=1):
        reply = raw.ask(click(x, y, positive, sequence=k))
        assert not reply.HasField("error"), reply.error.message
        memory.append(reply.memory_bytes)
    assert reply.num_clicks == 1000
    whole = raw.ask(pb.SessionRequest(show=pb.Show(), output=pb.Output()))
    mask = mask_of(whole.result)
    last: dict[tuple[int, int], bool] = {}
    for x, y, positive in random_clicks(1, 1000, WIDTH, HEIGHT):
        last[x, y] = positive
    assert all(mask[y, x] == positive for (x, y), positive in last.items())
    assert max(memory[500:]) < 2 * max(memory[:100])  # bounded
    assert raw.ask(undo=pb.Undo()).num_clicks == 999
