"""Sessions in a store: they continue in another process, bit for bit, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from server.harness import (
    RawStream,
    ServerProcess,
    gauge,
    image_file,
    write_bundle,
)
from store.stores import RedisServer

from clickcut.client import Client
from clickcut.encoding import from_rle
from clickcut.images import digest_of
from clickcut.v1 import clickcut_pb2 as pb

pytestmark = pytest.mark.slow

IMAGE = image_file()
OPEN = pb.SessionRequest(open=pb.Open(image=IMAGE, parameters=pb.Parameters(cut_lambda=0.7)))
EVENTS = [
    pb.SessionRequest(click=pb.Click(x=80, y=60)),
    pb.SessionRequest(click=pb.Click(x=20, y=30, negative=True)),
    pb.SessionRequest(stroke=pb.Stroke(coordinates=[60, 50, 90, 70])),
    pb.SessionRequest(undo=pb.Undo()),
    pb.SessionRequest(set_parameters=pb.SetParameters(parameters=pb.Parameters(threshold=0.4))),
    pb.SessionRequest(next_object=pb.NextObject(exclude_finished=True)),
    pb.SessionRequest(box=pb.Box(x0=10, y0=10, x1=60, y1=70)),
    pb.SessionRequest(click=pb.Click(x=30, y=40)),
    pb.SessionRequest(edit_object=pb.EditObject(index=0)),
    pb.SessionRequest(redo=pb.Redo()),
]
SHOW = pb.SessionRequest(show=pb.Show(), output=pb.Output(clicks=True, objects=True))


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/sessions.db"
        return
    with RedisServer(tmp_path) as redis:
        yield redis.url


def numbered(events: list[pb.SessionRequest], start: int = 1) -> Iterator[pb.SessionRequest]:
    for at, event in enumerate(events, start):
        request = pb.SessionRequest(sequence=at)
        request.MergeFrom(event)
        yield request


def mask_of(reply: pb.SessionReply) -> NDArray[np.bool_]:
    assert not reply.HasField("error"), reply.error.message
    return from_rle(reply.result.rle.counts, reply.result.rle.height, reply.result.rle.width)


def shown(reply: pb.SessionReply) -> tuple[object, ...]:
    """All that a session shows of itself, but ids, times and memory."""
    return (
        mask_of(reply).tobytes(),
        reply.result.area,
        [(c.x, c.y, c.negative, c.num_points) for c in reply.result.clicks],
        [(o.index, o.area, o.rle.counts) for o in reply.result.objects],
        (reply.object_index, reply.num_objects, reply.can_undo, reply.can_redo),
        reply.applied_sequence,
    )


def resume(server: ServerProcess, session_id: str) -> RawStream:
    raw = RawStream(server.address)
    assert raw.ask(open=pb.Open(session_id=session_id)).session_id == session_id
    return raw


def test_a_session_goes_on_in_another_process_bit_for_bit(
    bundle: Path, store: str, server: ServerProcess
) -> None:
    undisturbed = []
    with RawStream(server.address) as raw:
        raw.ask(OPEN)
        for request in numbered(EVENTS):
            raw.ask(request)
            undisturbed.append(shown(raw.ask(SHOW)))
        while raw.ask(SHOW).can_undo:
            raw.ask(undo=pb.Undo())
        last = shown(raw.ask(SHOW))
    events = list(numbered(EVENTS))
    with ServerProcess(bundle, store=store) as other:
        with ServerProcess(bundle, store=store) as first, RawStream(first.address) as raw:
            session_id = raw.ask(OPEN).session_id
            for at in range(3):
                raw.ask(events[at])
                assert shown(raw.ask(SHOW)) == undisturbed[at]
            first.kill()
        for at in range(3, len(events)):  # each one in another stream
            with RawStream(other.address) as raw:
                reply = raw.ask(open=pb.Open(session_id=session_id))
                assert reply.image.digest == digest_of(IMAGE)
                assert reply.applied_sequence == at
                assert shown(raw.ask(SHOW)) == undisturbed[at - 1]
                raw.ask(events[at])
                assert shown(raw.ask(SHOW)) == undisturbed[at]
                raw.ask(events[at])  # not twice
                assert shown(raw.ask(SHOW)) == undisturbed[at]
        with resume(other, session_id) as raw:
            assert shown(raw.ask(SHOW)) == undisturbed[-1]
            while raw.ask(SHOW).can_undo:
                raw.ask(undo=pb.Undo())
            assert shown(raw.ask(SHOW)) == last
            raw.ask(close=pb.Close())
        with RawStream(other.address) as gone:
            gone.send(pb.SessionRequest(open=pb.Open(session_id=session_id)))
            assert gone.status().code() == grpc.StatusCode.NOT_FOUND


def test_a_client_goes_on_with_the_same_session(
    bundle: Path, store: str, server: ServerProcess, free_address: str
) -> None:
    with (
        ServerProcess(bundle, store=store, address=free_address) as first,
        Client(free_address) as client,
    ):
        session = client.open(IMAGE)
        session.click(80, 60)
        session_id = session.id
        first.kill()
        with ServerProcess(bundle, store=store, address=free_address) as second:
            mask = session.click(30, 40)
            assert session.id == session_id, "it was resumed, not replayed"
            assert not any("WARNING" in line or "ERROR" in line for line in second.errors)
        with Client(server.address) as other:
            undisturbed = other.open(IMAGE)
            undisturbed.click(80, 60)
            assert (undisturbed.click(30, 40) == mask).all()


def test_two_processes_never_write_one_session(bundle: Path, store: str) -> None:
    with (
        ServerProcess(bundle, store=store) as one,
        ServerProcess(bundle, store=store) as two,
        RawStream(one.address) as first,
    ):
        session_id = first.ask(OPEN).session_id
        events = list(numbered(EVENTS))
        first.ask(events[0])
        with resume(two, session_id) as second:
            assert second.ask(SHOW).applied_sequence == 1
            second.ask(events[1])
            before = shown(second.ask(SHOW))
            first.send(events[1])  # its stream does not know yet that it lost the session
            assert first.status().code() == grpc.StatusCode.ABORTED
            assert shown(second.ask(SHOW)) == before
            second.ask(events[2])
            before = shown(second.ask(SHOW))
        with resume(one, session_id) as third:  # it has an older state, and catches up
            assert shown(third.ask(SHOW)) == before
            assert third.ask(events[3]).applied_sequence == 4


def test_another_model_under_the_same_name_is_not_used(tmp_path: Path, store: str) -> None:
    one, other = (tmp_path / f"{k}.onnx" for k in ("one", "other"))
    with (
        ServerProcess(write_bundle(one), store=store) as server,
        RawStream(server.address) as raw,
    ):
        session_id = raw.ask(OPEN).session_id
        raw.ask(EVENTS[0])
    with (
        ServerProcess(write_bundle(other, radius=9), store=store) as server,
        RawStream(server.address) as raw,
    ):
        raw.send(pb.SessionRequest(open=pb.Open(session_id=session_id)))
        ended = raw.status()
        assert ended.code() == grpc.StatusCode.NOT_FOUND
        assert "toy@1" in ended.details()


def test_images_are_found_by_digest_in_another_process(bundle: Path, store: str) -> None:
    with ServerProcess(bundle, store=store) as server, Client(server.address) as client:
        client.open(IMAGE).click(80, 60)
    by_digest = pb.SessionRequest(open=pb.Open(image_digest=digest_of(IMAGE)))
    with ServerProcess(bundle, store=store) as server, RawStream(server.address) as raw:
        assert raw.ask(by_digest).image.width == 160
        raw.ask(EVENTS[0])
    with ServerProcess(bundle, store=store, store_image_mib=1, max_image_mib=1) as server:
        with Client(server.address) as client:  # images of no session, more than there is room for
            for seed in range(1, 30):
                client.open(image_file(640, 480, seed)).close()
        with RawStream(server.address) as raw:
            raw.ask(by_digest)


def test_evicted_sessions_come_back(bundle: Path, store: str) -> None:
    with (
        ServerProcess(bundle, store=store, max_sessions=2, metrics_port=0) as server,
        Client(server.address) as client,
    ):
        with RawStream(server.address) as raw:
            session_id = raw.ask(OPEN).session_id
            raw.ask(EVENTS[0])
            before = raw.ask(SHOW).result.area
        others = [client.open(image_file(seed=k)) for k in (1, 2)]
        for other in others:
            other.click(80, 60)
        others[0].close()
        with resume(server, session_id) as again:
            assert again.ask(SHOW).result.area == before
        assert gauge(server, "clickcut_store_restored_sessions_total") == 1
        assert gauge(server, 'clickcut_store_writes_total{kind="append"}') == 3
        assert gauge(server, "clickcut_store_written_bytes_total") > len(IMAGE)
