"""OpenTelemetry traces: client, server, stages. Off, and not imported, until `enable` is called.

A call carries its trace in its metadata (W3C `traceparent`, or what OTEL_PROPAGATORS says). A
session is one call, so its trace begins with the stream: the client's span of the stream is the
parent of its events' spans, and of the server's span of the call, which is the parent of the
server's spans of the same events; those have the stages below them. The attribute
`clickcut.sequence` says which event is which.

    client  Session ─┬─ click
    server           └─ Session ── click ─┬─ maps, network, cut
                                          └─ encode
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from clickcut.errors import BackendError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanKind, TracerProvider

SERVICE = "clickcut"
"""Name of the service in traces, unless OTEL_SERVICE_NAME gives another."""

Attributes = Mapping[str, str | int | float | bool]
Metadata = tuple[tuple[str, str], ...]

_FLUSH_SECONDS = 2.0
"""How long the last spans may take to be sent when the server stops."""
_NOTHING: AbstractContextManager[None] = nullcontext()

_tracer: Any = None
"""The tracer in use; None: traces are off."""


def enable(provider: TracerProvider | None = None) -> None:
    """Trace the clients and sessions of this process from now on.

    Args:
        provider: of tracers; None for the global one.

    Raises:
        BackendError: OpenTelemetry is not installed.
    """
    global _tracer
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise _missing(error) from error
    _tracer = trace.get_tracer(SERVICE, tracer_provider=provider)


def disable() -> None:
    """Trace nothing any more."""
    global _tracer
    _tracer = None


def export(to: Literal["otlp", "console"]) -> Callable[[], None]:
    """Trace this process and export its spans; settings are OpenTelemetry's environment variables.

    Args:
        to: "otlp": a collector over gRPC; "console": stderr, as JSON.

    Returns:
        Sends what is left, for at most `_FLUSH_SECONDS`, and stops.

    Raises:
        BackendError: OpenTelemetry or its exporter is not installed.
    """
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _otlp() if to == "otlp" else _console()
    except ImportError as error:
        raise _missing(error) from error
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE)
    provider = TracerProvider(resource=Resource.create(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    enable(provider)

    def stop() -> None:
        disable()
        # In a thread: a collector that does not answer must not hold up the end of the server.
        flush = threading.Thread(target=provider.shutdown, name="clickcut-traces", daemon=True)
        flush.start()
        flush.join(_FLUSH_SECONDS)

    return stop


def _otlp() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter: SpanExporter = OTLPSpanExporter()
    return exporter


def _console() -> SpanExporter:
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    return ConsoleSpanExporter(
        out=sys.stderr, formatter=lambda span: f"{span.to_json(indent=None)}\n"
    )


def _missing(error: ImportError) -> BackendError:
    return BackendError(f"traces need {error.name}: pip install 'clickcut[tracing]'")


def span(name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span | None]:
    """Trace what is done in the context as a part of the current span; nothing where none is."""
    if _tracer is None:
        return _NOTHING
    from opentelemetry.trace import get_current_span

    if not get_current_span().get_span_context().is_valid:
        return _NOTHING
    found: AbstractContextManager[Span] = _tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=True
    )
    return found


def mark_failed(message: str, code: int | None = None) -> None:
    """Say that what the current span traces has failed.

    Args:
        message: of the error.
        code: status of gRPC that ends the call; None within a session, which goes on.
    """
    if _tracer is None:
        return
    from opentelemetry.trace import Status, StatusCode, get_current_span

    current = get_current_span()
    current.set_status(Status(StatusCode.ERROR, message))
    if code is not None:
        current.set_attribute("rpc.grpc.status_code", code)


def trace_id() -> str:
    """Return the id of the current trace, 32 hex digits; "" when there is none."""
    if _tracer is None:
        return ""
    from opentelemetry.trace import format_trace_id, get_current_span

    number = get_current_span().get_span_context().trace_id
    return format_trace_id(number) if number else ""


# ---- calls


def serving(
    method: str, metadata: Iterable[tuple[str, str | bytes]] | None, attributes: Attributes
) -> AbstractContextManager[Span | None]:
    """Trace a call that the server answers, as a part of the client's trace.

    Args:
        method: its full name, `/PACKAGE.SERVICE/METHOD`.
        metadata: of the call.
        attributes: further ones of the span.
    """
    if _tracer is None:
        return _NOTHING
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    carrier = {key: value for key, value in metadata or () if isinstance(value, str)}
    found: AbstractContextManager[Span] = _tracer.start_as_current_span(
        method.lstrip("/"),
        context=propagate.extract(carrier),
        kind=SpanKind.SERVER,
        attributes={**_rpc(method), **attributes},
        record_exception=False,
        set_status_on_exception=False,
    )
    return found


def calling(method: str) -> AbstractContextManager[Span | None]:
    """Trace a unary call or an upload of a client."""
    if _tracer is None:
        return _NOTHING
    from opentelemetry.trace import SpanKind

    found: AbstractContextManager[Span] = _tracer.start_as_current_span(
        method.lstrip("/"), kind=SpanKind.CLIENT, attributes=_rpc(method)
    )
    return found


def outgoing() -> Metadata:
    """Return the metadata that carries the current trace to a server; () when there is none."""
    if _tracer is None:
        return ()
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


class StreamTrace:
    """The trace of a session's stream, at the client. Does nothing when traces are off.

    Args:
        method: its full name; "" for no stream.

    Attributes:
        metadata: that carries the trace to the server.
    """

    def __init__(self, method: str = "") -> None:
        self.metadata: Metadata = ()
        self._span: Any = None
        self._context: Any = None
        if _tracer is None or not method:
            return
        from opentelemetry import propagate, trace

        self._span = _start(method, trace.SpanKind.CLIENT)
        self._context = trace.set_span_in_context(self._span)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, self._context)
        self.metadata = tuple(carrier.items())

    def event(self, kind: str | None, sequence: int) -> AbstractContextManager[Span | None]:
        """Trace an event, from its request to its reply."""
        if _tracer is None or self._span is None:
            return _NOTHING
        from opentelemetry.trace import SpanKind

        found: AbstractContextManager[Span] = _tracer.start_as_current_span(
            kind or "",
            context=self._context,
            kind=SpanKind.CLIENT,
            attributes={"clickcut.sequence": sequence},
        )
        return found

    def end(self) -> None:
        """End the span of the stream."""
        ended, self._span = self._span, None
        if ended is not None:
            ended.end()


NO_STREAM = StreamTrace()


def _start(method: str, kind: SpanKind) -> Span:
    started: Span = _tracer.start_span(method.lstrip("/"), kind=kind, attributes=_rpc(method))
    return started


def _rpc(method: str) -> dict[str, str]:
    service, _, name = method.lstrip("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
