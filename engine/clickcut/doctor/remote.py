"""Checks of a running server, as a client sees it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clickcut.bundle import check_metadata
from clickcut.client import Client
from clickcut.client.access import Access
from clickcut.client.failures import error_of_rpc
from clickcut.doctor.findings import Finding
from clickcut.doctor.self_test import CLICKS, judged, key_of, photograph
from clickcut.errors import printable

_SECONDS = 20.0
_HEALTH = health_pb2.HealthCheckResponse


def health(address: str, access: Access) -> Iterator[Finding]:
    """Yield whether a server says that it serves.

    Args:
        address: HOST:PORT, or unix:PATH.
        access: shown to it.

    Raises:
        ClickcutError: it cannot be reached.
    """
    endpoint = access.endpoint(address)
    with endpoint.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
            spent = [_timed_check(stub) for _ in range(5)]
        except grpc.RpcError as error:
            raise error_of_rpc(error, endpoint) from error
    state = _HEALTH.ServingStatus.Name(reply.status)
    round_trip = statistics.median(spent)
    data: dict[str, object] = {"health": state, "round_trip_ms": round(round_trip, 2)}
    text = f"{address} says {state}, round trip {round_trip:.1f} ms"
    if reply.status == _HEALTH.SERVING:
        yield Finding("server", "ok", text, data=data)
    else:
        advice = "it is warming up (wait for a minute) or shutting down (use another one)"
        yield Finding("server", "error", text, advice, data)


def _timed_check(stub: health_pb2_grpc.HealthStub) -> float:
    began = time.perf_counter()
    stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
    return 1e3 * (time.perf_counter() - began)


def selection(address: str, access: Access) -> Iterator[Finding]:
    """Yield for each model of a server whether its mask is right, and how long it took.

    Args:
        address: HOST:PORT, or unix:PATH.
        access: shown to it.

    Raises:
        ClickcutError: the server cannot be reached, or refuses.
    """
    with Client(address, timeout=60.0, retry_seconds=5.0, **access.arguments) as client:
        for model in client.models():
            metadata = check_metadata(model.metadata, f"{address}, model {model.name}")
            began = time.perf_counter()
            mask = client.segment(photograph(), CLICKS, model=key_of(metadata))
            spent = 1e3 * (time.perf_counter() - began)
            words, right = judged(metadata, mask)
            name = printable(key_of(metadata), 256)
            text = f"{name}: {words}; {len(CLICKS)} clicks, upload included, {spent:.0f} ms"
            data: dict[str, object] = {
                "model": name,
                "comparison": words,
                "segment_ms": round(spent, 2),
            }
            if right:
                yield Finding("server", "ok", text, data=data)
            else:
                advice = "run clickcut doctor on the server's machine, with the same --model"
                yield Finding("server", "error", text, advice, data)
