"""What can be checked of `clickcut scale` without starting Ray."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from server.harness import reserved_address, server_environment

from clickcut.server.core import Core
from clickcut.server.edge import Edge
from clickcut.server.service import ClickcutService
from clickcut.server.settings import Settings
from clickcut.server.token_file import new_token
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc


def run(prelude: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{prelude}\nfrom clickcut_scale.cli import app; app()", *words],
        capture_output=True,
        text=True,
        timeout=400,
        env=server_environment() | environment,
        check=False,
    )


WITHOUT_RAY = "import sys; sys.modules['ray'] = None"


def test_without_ray_it_says_what_to_install() -> None:
    ended = run(WITHOUT_RAY, "up")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "clickcut scale: not installed: ray; pip install 'clickcut[scale]'"
    ]


def test_a_model_that_cannot_be_used_ends_it_before_ray_starts(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    bundle = tmp_path / "broken.onnx"
    bundle.write_bytes(b"not a model")
    ended = run("", "up", "--model", str(bundle))
    assert ended.returncode == 2
    assert "Ray" not in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert line.startswith("clickcut scale:")
    assert "broken.onnx" in line


def test_a_store_that_does_not_answer_ends_it_before_ray_starts() -> None:
    pytest.importorskip("ray")
    pytest.importorskip("redis")
    with reserved_address() as address:  # nothing listens there
        ended = run("", "up", CLICKCUT_STORE=f"redis://{address}/0")
    assert ended.returncode == 2
    assert "Ray" not in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert address in line


def test_replicas_cannot_share_a_file() -> None:
    pytest.importorskip("ray")
    ended = run("", "up", CLICKCUT_STORE="sqlite:sessions.db")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "Redis only" in line


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CLICKCUT_TLS_CERT": __file__, "CLICKCUT_TLS_KEY": __file__}, "tls_cert, tls_key"),
        ({"CLICKCUT_QUEUE": "-1"}, "--queue"),
        ({"CLICKCUT_STORE": "redis://localhost/0", "CLICKCUT_STORE_MIB": "8"}, "--store-mib 8"),
        ({"CLICKCUT_MEMORY_MIB": "800", "CLICKCUT_SESSION_MEMORY_MIB": "900"}, "--memory-mib 800"),
    ],
)
def test_a_bad_setting_of_the_environment_ends_it(environment: dict[str, str], words: str) -> None:
    pytest.importorskip("ray")
    ended = run("", "up", **environment)
    assert ended.returncode == 2
    assert "Ray" not in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert words in line


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, when it is imported
def test_replicas_share_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from clickcut_scale import local

    monkeypatch.setattr(local, "memory_limit", lambda: 4096 * 2**20)
    monkeypatch.setattr(local, "available_cpus", lambda: 4)
    assert local.shares(2) == {"threads": 2, "workers": 2, "memory_mib": 1280}
    monkeypatch.setenv("CLICKCUT_WORKERS", "7")
    assert local.shares(2) == {"threads": 2, "memory_mib": 1280}
    with pytest.raises(local.DeployError, match="--replicas"):
        local.shares(9)


def test_a_port_in_use_is_named() -> None:
    pytest.importorskip("ray")
    with socket.create_server(("", 0)) as taken:
        ended = run("", "up", "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "--port" in line


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, when it is imported
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"settings": {"metrics_port": 9}}, "metrics_port"),
        ({"settings": {"max_sessions": 50}}, "sessions_per_replica"),
        ({"settings": {"store": "redis://localhost/0", "store_mib": 8}}, "--store-session-mib"),
        ({"replicas": 2, "max_replicas": 4}, "not both"),
        ({"settings": {"no_such": 1}}, "no_such"),
        ({"settings": {"queue": -1}}, "queue"),
        ({"settings": {"store": "sqlite:sessions.db"}}, "Redis only"),
        ({"min_replicas": 5, "max_replicas": 2}, "min_replicas"),
        ({"replicas": 0}, "replicas"),
        ({"cpu": 2}, "cpu"),
        ({"settings": {"token_lines": f"alice sha256:{'0' * 64}"}}, "plaintext_tokens"),
    ],
)
def test_arguments_that_cannot_be_right_are_named(fields: dict[str, Any], named: str) -> None:
    pytest.importorskip("ray")
    from clickcut_scale.application import build

    with pytest.raises(ValueError, match=named):
        build(fields)


class Context:
    """What Ray Serve's proxy tells of a call."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = list(metadata)
        self.code: grpc.StatusCode | None = None

    def peer(self) -> str:
        return "ipv4:10.0.0.7:1234"

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        self.trailing = dict(trailing_metadata)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, when it is imported
def test_calls_of_the_proxy_need_a_token() -> None:
    pytest.importorskip("ray")
    from clickcut_scale.calls import RawCall, one
    from clickcut_scale.handlers import methods_of

    token, line = new_token("alice")
    method = "/clickcut.v1.Clickcut/ListModels"

    async def answered(*metadata: tuple[str, str]) -> tuple[Context, bytes]:
        models = SimpleNamespace(listing=list)
        core = Core(Settings(token_lines=line), models, 1)  # type: ignore[arg-type]
        try:
            edge = Edge(core)
            methods = methods_of(
                clickcut_pb2_grpc.add_ClickcutServicer_to_server, ClickcutService(core)
            )

            async def answer(call: Any) -> None:
                await edge.serve(method, methods[method], call)

            context = Context(*metadata)
            reply = await RawCall(one(pb.ListModelsRequest()), context).reply(answer)
            return context, reply.SerializeToString()
        finally:
            core.pool.close()

    for metadata in ((), (("authorization", "Bearer wrong"),)):
        context, _ = asyncio.run(answered(*metadata))
        assert context.code is grpc.StatusCode.UNAUTHENTICATED
        assert context.trailing["clickcut-error"] == "AuthenticationError"
    context, _ = asyncio.run(answered(("authorization", f"Bearer {token}"), ("session_id", "x")))
    assert context.code is None
