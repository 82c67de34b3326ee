"""Traces: from the client over the server to its stages, and nothing at all when they are off."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from server.harness import DEADLINE, ServerProcess, image_file, run_server, wait_until

from clickcut import tracing
from clickcut.client import AsyncClient, Client
from clickcut.errors import EventError
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

CALL = "clickcut.v1.Clickcut"
STAGES = {"maps", "network", "cut", "encode"}
AT_EXIT = """
import atexit, sys
atexit.register(lambda: print("imported:", "opentelemetry" in sys.modules, file=sys.stderr))
"""


@pytest.fixture
def memory() -> Iterator[InMemorySpanExporter]:
    """Traces of this process, the clients', kept in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.enable(provider)
    yield exporter
    tracing.disable()
    provider.shutdown()


@pytest.fixture(scope="module")
def traced(bundle: Path) -> Iterator[ServerProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # milliseconds
        with ServerProcess(bundle, traces="console") as server:
            yield server


def of_server(server: ServerProcess, trace_id: str) -> list[dict[str, Any]]:
    """Spans that the server has exported of a trace."""
    spans = [json.loads(line) for line in server.errors if line.startswith("{")]
    return [s for s in spans if s["context"]["trace_id"] == f"0x{trace_id}"]


def below(spans: list[dict[str, Any]], parent: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for s in spans if s["parent_id"] == parent["context"]["span_id"]]


def one(spans: Any, name: str) -> Any:
    (found,) = [s for s in spans if (s["name"] if isinstance(s, dict) else s.name) == name]
    return found


def hex_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"0x{trace.format_span_id(span.context.span_id)}"


def finished_trace(server: ServerProcess, call: ReadableSpan) -> list[dict[str, Any]]:
    """Spans of the server in a client's trace, once its span of the call is there."""
    assert call.context is not None
    trace_id = trace.format_trace_id(call.context.trace_id)

    def ended() -> bool:
        return any(s["parent_id"] == hex_id(call) for s in of_server(server, trace_id))

    wait_until(ended, "the server exports its span of the call")
    return of_server(server, trace_id)


def check_session(server: ServerProcess, spans: list[ReadableSpan]) -> None:
    """Two streams, as the image was asked for first; two clicks, the second of which is outside."""
    _, stream = sorted((s for s in spans if s.name == f"{CALL}/Session"), key=lambda s: s.end_time)
    first, outside = sorted((s for s in spans if s.name == "click"), key=lambda s: s.start_time)
    assert first.parent.span_id == outside.parent.span_id == stream.context.span_id
    found = finished_trace(server, stream)
    call = one(found, f"{CALL}/Session")
    assert call["kind"] == "SpanKind.SERVER"
    assert call["parent_id"] == hex_id(stream)
    assert call["attributes"]["rpc.method"] == "Session"
    events = below(found, call)
    assert one(below(found, one(events, "open")), "decode")["attributes"]["clickcut.file_bytes"]
    clicks = {e["attributes"]["clickcut.sequence"]: e for e in events if e["name"] == "click"}
    served = clicks[first.attributes["clickcut.sequence"]]
    assert {s["name"] for s in below(found, served)} == STAGES
    assert served["status"]["status_code"] == "UNSET"
    failed = clicks[outside.attributes["clickcut.sequence"]]
    assert failed["status"]["status_code"] == "ERROR"
    assert "outside" in failed["status"]["description"]


def test_a_session_is_one_trace(traced: ServerProcess, memory: InMemorySpanExporter) -> None:
    with Client(traced.address) as client, client.open(image_file()) as session:
        session.click(80, 60)
        with pytest.raises(EventError):
            session.click(-5, 0)
    check_session(traced, list(memory.get_finished_spans()))


def test_a_session_of_the_asyncio_client_too(
    traced: ServerProcess, memory: InMemorySpanExporter
) -> None:
    async def play() -> None:
        async with (
            AsyncClient(traced.address) as client,
            await client.open(image_file(seed=1)) as session,
        ):
            await session.click(80, 60)
            with pytest.raises(EventError):
                await session.click(-5, 0)

    asyncio.run(play())
    check_session(traced, list(memory.get_finished_spans()))


def test_a_call_belongs_to_what_the_program_is_doing(
    traced: ServerProcess, memory: InMemorySpanExporter
) -> None:
    with Client(traced.address) as client, tracing.calling("mine/annotate"):
        client.segment(image_file(seed=2), [(80, 60)])
    spans = memory.get_finished_spans()
    mine = one(spans, "mine/annotate")
    calls = [s for s in spans if s.name == f"{CALL}/Segment"]
    assert {s.parent.span_id for s in calls if s.parent} == {mine.context.span_id}
    unknown, call = calls  # the image was asked for first, then sent
    assert unknown.status.status_code is StatusCode.ERROR
    found = finished_trace(traced, call)
    served = one([s for s in found if s["parent_id"] == hex_id(call)], f"{CALL}/Segment")
    assert {s["name"] for s in below(found, served)} == {*STAGES, "decode"}
    refused = one([s for s in found if s["parent_id"] == hex_id(unknown)], f"{CALL}/Segment")
    assert refused["status"]["status_code"] == "ERROR"
    assert refused["attributes"]["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("sent", ["00-zz-zz-01", "", "x" * 5000, f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_traceparent_that_is_none_is_ignored(traced: ServerProcess, sent: str) -> None:
    with grpc.insecure_channel(traced.address) as channel:
        stub = clickcut_pb2_grpc.ClickcutStub(channel)
        metadata = [("traceparent", sent)]
        assert stub.ListModels(pb.ListModelsRequest(), timeout=DEADLINE, metadata=metadata).models


def test_a_foreign_client_only_needs_the_metadata(traced: ServerProcess) -> None:
    trace_id, span_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with grpc.insecure_channel(traced.address) as channel:
        stub = clickcut_pb2_grpc.ClickcutStub(channel)
        metadata = [("traceparent", f"00-{trace_id}-{span_id}-01"), ("x-request-id", "foreign")]
        stub.ListModels(pb.ListModelsRequest(), timeout=DEADLINE, metadata=metadata)
    wait_until(lambda: bool(of_server(traced, trace_id)), "a span in the client's trace")
    (call,) = of_server(traced, trace_id)
    assert call["parent_id"] == f"0x{span_id}"
    assert call["attributes"]["clickcut.request_id"] == "foreign"


def test_nothing_but_requests_is_traced(traced: ServerProcess) -> None:
    """Neither the warm-up nor health checks."""
    spans = [json.loads(line) for line in traced.errors if line.startswith("{")]
    roots = {s["name"] for s in spans if s["parent_id"] is None}
    assert all(name.startswith(CALL) for name in roots)


def test_off_means_that_nothing_is_imported(bundle: Path) -> None:
    with ServerProcess(bundle, prelude=AT_EXIT) as server:
        code = (
            "import sys, clickcut\n"
            "from server.harness import image_file\n"
            f"with clickcut.Client({server.address!r}) as client:\n"
            "    with client.open(image_file()) as session: session.click(80, 60)\n"
            "    client.segment(image_file(), [(80, 60)])\n"
            "assert 'opentelemetry' not in sys.modules\n"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=DEADLINE)
        server.terminate()
        assert server.join() == 0
        assert server.errors[-1] == "imported: False"


def test_what_is_missing_is_named(bundle: Path) -> None:
    prelude = "import sys; sys.modules['opentelemetry.sdk'] = None"
    code, _, errors = run_server("--model", str(bundle), "--traces", "otlp", prelude=prelude)
    assert code == 2
    (line,) = errors
    assert "pip install 'clickcut[tracing]'" in line


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def Export(self, request: Any, context: object) -> Any:  # noqa: N802
        self.spans += [
            (resource, span)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return trace_service_pb2.ExportTraceServiceResponse()


def test_spans_reach_a_collector_even_as_the_server_stops(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
    service = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, service)
    port = service.add_insecure_port("127.0.0.1:0")
    service.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    try:
        with ServerProcess(bundle, traces="otlp") as server:
            with Client(server.address) as client:
                client.models()
            server.terminate()
            assert server.join() == 0
    finally:
        service.stop(None)
    ((resource, span),) = collector.spans
    assert span.name == f"{CALL}/ListModels"
    names = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert names["service.name"] == "clickcut"


def test_a_collector_that_is_not_there_harms_nobody(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with ServerProcess(bundle, traces="otlp") as server:
        with Client(server.address) as client, client.open(image_file()) as session:
            assert session.click(80, 60).any()
        server.terminate()
        assert server.join() == 0
        assert not any("Traceback" in line for line in server.errors)
