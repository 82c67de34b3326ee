"""Clients that send nothing, read nothing, or too much: the others are served all the same."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server.harness import (
    DEADLINE,
    Clock,
    RawStream,
    ServerProcess,
    encode,
    gauge,
    image_file,
    picture,
    wait_until,
)

from clickcut.v1 import clickcut_pb2 as pb

pytestmark = pytest.mark.slow

OPEN = pb.SessionRequest(open=pb.Open(image=image_file()))
CLICK = pb.SessionRequest(click=pb.Click(x=80, y=60))


def refusals(server: ServerProcess, reason: str) -> float:
    with contextlib.suppress(StopIteration):  # no such line yet
        return gauge(server, f'clickcut_refusals_total{{reason="{reason}"}}')
    return 0.0


def silent_call(channel: grpc.Channel, method: str) -> grpc.Call:
    """A call that never sends its message."""

    def nothing() -> Iterator[bytes]:
        ended.wait(4 * DEADLINE)
        yield from ()

    ended = threading.Event()
    call = channel.stream_stream(method)(nothing())
    call.add_callback(ended.set)
    return call


def healthy(channel: grpc.Channel) -> bool:
    stub = health_pb2_grpc.HealthStub(channel)
    reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def check_log(server: ServerProcess) -> None:
    assert not any("Traceback" in line for line in server.errors), "\n".join(server.errors)


METHODS = ["Session", "UploadImage", "Segment", "ListModels"]


@pytest.mark.parametrize("method", [*METHODS, "Watch"])
def test_silent_calls_do_not_keep_others_out(bundle: Path, method: str) -> None:
    service = "grpc.health.v1.Health" if method == "Watch" else "clickcut.v1.Clickcut"
    with (
        ServerProcess(bundle, max_pending=8, open_seconds=600, metrics_port=0) as server,
        grpc.insecure_channel(server.address, [("x", 1)]) as hostile,
        grpc.insecure_channel(server.address, [("x", 2)]) as other,
    ):
        calls = [silent_call(hostile, f"/{service}/{method}") for _ in range(30)]
        wait_until(lambda: sum(call.done() for call in calls) == 22, "all but eight are ended")
        ended = {call.code() for call in calls if call.done()}
        assert ended == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert healthy(other)
        with RawStream(server.address) as raw:
            raw.ask(OPEN)
            assert raw.ask(CLICK).num_clicks == 1
        for call in calls:
            call.cancel()
        reason = "health checks" if method == "Watch" else "calls without a message"
        assert refusals(server, reason) >= 22
        check_log(server)


def test_a_call_without_its_message_ends(bundle: Path) -> None:
    with (
        ServerProcess(bundle, open_seconds=0.3, metrics_port=0) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        methods = [f"/clickcut.v1.Clickcut/{name}" for name in METHODS]
        methods += ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]
        calls = [silent_call(channel, method) for method in methods]
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert all("no message" in call.details() for call in calls)
        assert refusals(server, "open") == len(calls)
        check_log(server)


def test_a_client_that_does_not_read_loses_its_stream_only(bundle: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (700, 900), np.uint8)
    mask = pb.InitialMask(png=encode(noise))
    small = pb.Output(mask=pb.Output.MASK_FORMAT_NONE)  # is written whether it is read or not
    show = pb.SessionRequest(show=pb.Show(), output=pb.Output(mask=pb.Output.MASK_FORMAT_PNG))
    with ServerProcess(bundle, write_seconds=0.5, metrics_port=0) as server:
        with RawStream(server.address) as raw:
            opening = pb.Open(image=image_file(900, 700), output=small)
            session_id = raw.ask(open=opening).session_id
            before = raw.ask(initial_mask=mask, sequence=1)
            for _ in range(200):  # of 80 kB each
                raw.send(show)
            wait_until(lambda: refusals(server, "write") == 1, "the stream is ended")
            with RawStream(server.address) as second:
                resumed = second.ask(open=pb.Open(session_id=session_id, output=small))
                assert resumed.applied_sequence == 1
                assert resumed.result.area == before.result.area
                second.ask(close=pb.Close())
        assert gauge(server, "clickcut_sessions") == 0
        server.terminate()
        assert server.join() == 0
        check_log(server)


def test_replies_that_are_not_read_do_not_pile_up(bundle: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (1000, 1500), np.uint8)
    nothing = pb.Output(mask=pb.Output.MASK_FORMAT_NONE)
    mask = pb.SessionRequest(initial_mask=pb.InitialMask(png=encode(noise)), output=nothing)
    opening = pb.SessionRequest(
        open=pb.Open(image=encode(picture(1500, 1000), ".jpg"), output=nothing)
    )
    whole = pb.Output(mask=pb.Output.MASK_FORMAT_RLE)  # 750 kB, counted twice
    reason = "memory for replies that are not read yet"
    with (
        ServerProcess(bundle, upload_memory_mib=4, metrics_port=0) as server,
        contextlib.ExitStack() as stack,
    ):
        narrow = ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 2**14)
        streams = [stack.enter_context(RawStream(server.address, *narrow)) for _ in range(3)]
        for stream in streams:
            stream.ask(opening)
            stream.ask(mask)
        for stream in streams:
            stream.send(pb.SessionRequest(show=pb.Show(), output=whole))
        wait_until(lambda: refusals(server, reason) == 1, "one is refused")
        with RawStream(server.address) as other:
            other.ask(OPEN)
            assert other.ask(CLICK).num_clicks == 1
        ends = [answer(stream) for stream in streams]
        assert sorted(ends) == ["RESOURCE_EXHAUSTED", "whole", "whole"]
        assert streams[ends.index("whole")].ask(show=pb.Show(), output=whole).result.rle.counts
        check_log(server)


def answer(stream: RawStream) -> str:
    try:
        return "whole" if stream.receive().result.rle.counts else "nothing"
    except grpc.RpcError as error:
        return str(error.code().name)


def test_one_host_has_only_a_part_of_the_sessions(bundle: Path) -> None:
    with (
        ServerProcess(bundle, max_sessions=4, metrics_port=0) as server,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(RawStream(server.address)) for _ in range(4)]
        for stream in streams[:3]:
            stream.ask(OPEN)
        streams[3].send(OPEN)
        end = streams[3].status()
        assert end.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--max-sessions-per-host" in end.details()
        assert refusals(server, "sessions of a host") == 1


def test_sessions_without_a_stream_make_room(bundle: Path) -> None:
    with (
        ServerProcess(bundle, max_sessions=2, max_sessions_per_host=2) as server,
        contextlib.ExitStack() as stack,
    ):
        first, second, third = (stack.enter_context(RawStream(server.address)) for _ in range(3))
        kept = first.ask(OPEN).session_id
        abandoned = second.ask(OPEN).session_id
        second.half_close()
        assert second.status().code() == grpc.StatusCode.OK
        assert third.ask(OPEN).session_id not in (kept, abandoned)
        assert first.ask(CLICK).num_clicks == 1
        with RawStream(server.address) as late:
            late.send(pb.SessionRequest(open=pb.Open(session_id=abandoned)))
            assert late.status().code() == grpc.StatusCode.NOT_FOUND


def test_idle_sessions_make_room(bundle: Path, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    flags = {"max_sessions": 2, "max_sessions_per_host": 2, "spare_seconds": 3.0}
    with (
        ServerProcess(bundle, prelude=clock.prelude, **flags) as server,  # type: ignore[arg-type]
        contextlib.ExitStack() as stack,
    ):
        first, second, third = (stack.enter_context(RawStream(server.address)) for _ in range(3))
        first.ask(OPEN)
        clock.advance(2.0)
        second.ask(OPEN)
        third.send(OPEN)
        assert third.status().code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # none is idle yet
        clock.advance(2.0)
        assert stack.enter_context(RawStream(server.address)).ask(OPEN).session_id
        end = first.status()
        assert end.code() == grpc.StatusCode.NOT_FOUND
        assert "evicted" in end.details()
        assert second.ask(CLICK).num_clicks == 1  # not idle for long enough


def test_idle_connections_do_not_lock_others_out(bundle: Path) -> None:
    limit = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (100, r.getrlimit(7)[1]))"
    with ServerProcess(bundle, prelude=limit) as server, contextlib.ExitStack() as stack:
        for _ in range(200):
            address = "127.0.0.1", server.port
            idle = stack.enter_context(socket.create_connection(address, DEADLINE))
            idle.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        with RawStream(server.address) as raw:
            raw.ask(OPEN)
            assert raw.ask(CLICK).num_clicks == 1
        assert not any("descriptor" in line for line in server.errors), server.errors


def test_an_open_metrics_connection_does_not_trouble_the_end(bundle: Path) -> None:
    with ServerProcess(bundle, metrics_port=0) as server:
        port = urlsplit(server.line("metrics").split()[1]).port
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as half:
            half.sendall(b"GET / HTTP/1.1\r\n")
            gauge(server, "clickcut_sessions")  # the one before it has been taken
            server.terminate()
            assert server.join() == 0
        check_log(server)
