"""The log: JSON lines with the ids of request and session, also of refused requests."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from server.harness import (
    DEADLINE,
    RawStream,
    ServerProcess,
    image_file,
    run_server,
    wait_until,
)

from clickcut.server import logs
from clickcut.server.fault_log import FaultLog
from clickcut.server.peers import Peer
from clickcut.server.token_file import new_token
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

FAULT = """
import clickcut.server.replies as replies
real = replies.result
def result(session, output, rectangle):
    if output.polygon_tolerance == 77:
        raise ZeroDivisionError("a fault for the test")
    return real(session, output, rectangle)
replies.result = result
"""
OPEN = pb.Open(image=image_file())


@pytest.fixture(scope="module")
def json_server(bundle: Path) -> Iterator[ServerProcess]:
    with ServerProcess(bundle, prelude=FAULT, log_format="json") as server:
        yield server


def entries(server: ServerProcess, **wanted: str) -> list[dict[str, Any]]:
    """Lines of the log with these fields; every line must be an object."""
    found = [json.loads(line) for line in server.errors]
    return [e for e in found if all(e.get(key) == value for key, value in wanted.items())]


def entry(server: ServerProcess, **wanted: str) -> dict[str, Any]:
    wait_until(lambda: bool(entries(server, **wanted)), f"a line of the log with {wanted}")
    (found,) = entries(server, **wanted)
    return found


def segment(server: ServerProcess, *metadata: tuple[str, str]) -> grpc.RpcError:
    """The error of a request without an image."""
    with grpc.insecure_channel(server.address) as channel:
        stub = clickcut_pb2_grpc.ClickcutStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Segment(pb.SegmentRequest(), timeout=DEADLINE, metadata=metadata)
    return refused.value


def request_id(error: Any) -> str:
    return str(dict(error.trailing_metadata())["x-request-id"])


def test_a_refused_request_is_logged_with_the_id_that_its_client_sent(
    json_server: ServerProcess,
) -> None:
    error = segment(json_server, ("x-request-id", "order-66"))
    assert request_id(error) == "order-66"
    line = entry(json_server, request_id="order-66")
    assert line["level"] == "info"
    assert line["logger"] == "clickcut.server.fault_log"
    assert "Segment needs an image" in line["message"]
    assert line["method"] == "/clickcut.v1.Clickcut/Segment"
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert datetime.fromisoformat(line["time"]).utcoffset() is not None
    assert "session_id" not in line


@pytest.mark.parametrize("sent", ["", "two words", "x" * 129])
def test_an_id_that_is_not_usable_is_replaced(json_server: ServerProcess, sent: str) -> None:
    made = request_id(segment(json_server, ("x-request-id", sent)))
    assert made != sent
    assert len(made) == 16
    assert entry(json_server, request_id=made)


def test_an_error_in_a_session_has_the_id_of_the_session(json_server: ServerProcess) -> None:
    with RawStream(json_server.address) as raw:
        opened = raw.ask(open=OPEN)
        assert raw.ask(click=pb.Click(x=-5, y=0)).HasField("error")
        line = entry(json_server, session_id=opened.session_id[:8])
        raw.half_close()
        list(raw.call)
        assert request_id(raw.call) == line["request_id"]
    assert "outside" in line["message"]
    assert not any(opened.session_id in line for line in json_server.errors)  # it is a secret


def test_a_fault_in_a_thread_has_the_ids_and_a_traceback(json_server: ServerProcess) -> None:
    with RawStream(json_server.address) as raw:
        opened = raw.ask(open=OPEN)
        raw.ask(click=pb.Click(x=80, y=60), output=pb.Output(polygon_tolerance=77))
    line = entry(json_server, session_id=opened.session_id[:8])
    assert line["level"] == "error"
    assert "ZeroDivisionError: a fault for the test" in line["exception"]
    assert len(line["request_id"]) == 16


def test_an_unreadable_message_is_a_warning(json_server: ServerProcess) -> None:
    with grpc.insecure_channel(json_server.address) as channel:
        call = channel.unary_unary("/clickcut.v1.Clickcut/Segment")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\xff\xff\xff", timeout=DEADLINE)
    line = entry(json_server, request_id=request_id(refused.value))
    assert line["level"] == "warning"


def test_what_goes_well_also_returns_its_id(json_server: ServerProcess) -> None:
    with grpc.insecure_channel(json_server.address) as channel:
        stub = clickcut_pb2_grpc.ClickcutStub(channel)
        _, call = stub.ListModels.with_call(
            pb.ListModelsRequest(), timeout=DEADLINE, metadata=[("x-request-id", "abc")]
        )
    assert request_id(call) == "abc"


def test_every_line_is_json_when_the_server_cannot_start(tmp_path: Path) -> None:
    words = "--log-format", "json", "--log-level", "error", "--model", str(tmp_path / "no.onnx")
    code, out, log = run_server(*words)
    assert (code, out) == (2, [])
    (line,) = map(json.loads, log)
    assert line["level"] == "critical"
    assert "no.onnx" in line["message"]


def test_every_line_is_json_after_an_uncaught_exception(bundle: Path) -> None:
    prelude = (
        "import warnings, clickcut.server.process as p\n"
        "def fail(self):\n    warnings.warn('odd')\n    raise KeyError('x')\n"
        "p.Server._warm_up = fail"
    )
    code, out, log = run_server("--log-format", "json", "--model", str(bundle), prelude=prelude)
    assert (code, out) == (1, [])
    lines = [json.loads(line) for line in log]
    assert "KeyError" in lines[-1]["exception"]
    assert any("odd" in line["message"] and line["logger"] == "py.warnings" for line in lines)
    assert any(line["message"].startswith("address") for line in lines)


def test_a_text_line_ends_with_the_ids() -> None:
    record = logging.LogRecord("clickcut", logging.INFO, "", 0, "%d %%", (5,), None)
    form = logs.TextFormatter()
    assert form.format(record).endswith("INFO clickcut: 5 %")
    with logs.request("/a/B", Peer("h", "h:1"), [("x-request-id", "r")]):
        assert form.format(record).endswith("INFO clickcut: 5 % (request r)")
        logs.in_session("0123456789")
        assert form.format(record).endswith("5 % (request r, session 01234567)")
    assert form.format(record).endswith("5 %")


def test_a_flood_of_errors_fills_no_disk(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fault_log = FaultLog(logging.INFO, lines=3)
    fault_log.SECONDS = 1e9
    flooding, other = Peer("10.0.0.1", "a"), Peer("10.0.0.2", "b")
    for k in range(1000):
        fault_log.add(flooding, f"error {k}")
    fault_log.add(other, "error")
    assert [r.getMessage() for r in caplog.records] == [
        *(f"10.0.0.1: error {k}" for k in range(3)),
        "10.0.0.2: error",
    ]
    fault_log.SECONDS = 0.0
    fault_log.add(flooding, "error")
    assert caplog.records[-1].getMessage() == "10.0.0.1: error (997 more since the last line)"


@pytest.mark.slow
def test_lines_name_the_token_and_never_hold_it(bundle: Path) -> None:
    token, line = new_token("alice")
    with ServerProcess(bundle, log_format="json", token_lines=line) as server:
        ours = request_id(segment(server, ("authorization", f"Bearer {token}")))
        theirs = request_id(segment(server, ("authorization", f"Bearer {token}x")))
        assert entry(server, request_id=ours)["token"] == "alice"
        assert "token" not in entry(server, request_id=theirs, level="warning")
        assert token not in "\n".join(server.errors)
