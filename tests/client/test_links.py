"""Between client and server: dead links, proxies, TLS; loops, forks, forgotten sessions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from client.test_hostile_server import FakeServer
from server.harness import DEADLINE, Line, ServerProcess, image_file, wait_until

from clickcut.backends import load_predictor
from clickcut.client import (
    AsyncClient,
    BodyLimitError,
    BusyError,
    Client,
    StalledError,
    UnreachableError,
    UsageError,
)
from clickcut.client.channel import Endpoint
from clickcut.client.failures import error_of_rpc
from clickcut.client.protocol import Limits
from clickcut.errors import LimitError
from clickcut.images import prepare
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb

PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")


# ---- a link that goes silent


class SilentLine(Line):
    """A line whose present connections can go silent: what is sent vanishes, nothing comes back."""

    def __init__(self, port: int) -> None:
        self._silent: set[Any] = set()
        super().__init__(port)

    def go_silent(self) -> None:
        """The present connections only; new ones work."""
        self._silent.update(self._sockets)

    def _pump(self, source: Any, target: Any) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._silent:
                    target.sendall(data)
            if source not in self._silent:
                target.shutdown(2)


def wanted_masks(bundle: Path) -> list[np.ndarray[Any, Any]]:
    session = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
    masks = []
    for x in (80, 90, 100):
        session.click(x, 60)
        masks.append(session.mask.copy())
    return masks


def test_a_silent_link_is_replaced_and_nothing_is_lost(bundle: Path, server: ServerProcess) -> None:
    with SilentLine(server.port) as line, Client(line.address, keepalive_seconds=1.2) as client:
        session = client.open(image_file())
        session.click(80, 60)
        first_id = session.id
        line.go_silent()
        np.testing.assert_array_equal(session.click(90, 60), wanted_masks(bundle)[1])
        assert (session.id, session.num_clicks) == (first_id, 2)


def test_the_async_client_replaces_it_as_well(bundle: Path, server: ServerProcess) -> None:
    async def play(line: SilentLine) -> None:
        async with AsyncClient(line.address, keepalive_seconds=1.2) as client:
            session = await client.open(image_file())
            await session.click(80, 60)
            first_id = session.id
            line.go_silent()
            mask = await session.click(90, 60)
            np.testing.assert_array_equal(mask, wanted_masks(bundle)[1])
            assert (session.id, session.num_clicks) == (first_id, 2)

    with SilentLine(server.port) as line:
        asyncio.run(play(line))


@pytest.mark.slow
def test_a_stalled_call_leaves_its_channel_behind(bundle: Path, server: ServerProcess) -> None:
    with SilentLine(server.port) as line, Client(line.address) as client:
        session = client.open(image_file())
        session.click(80, 60)
        line.go_silent()
        patient = session._conversation._limits
        session._conversation._limits = Limits(timeout=4, retry_seconds=30)
        with pytest.raises(StalledError, match="4 s"):
            session.click(90, 60)
        session._conversation._limits = patient
        # Neither this nor the next call waits on the link that is known to be dead.
        assert client.models()
        np.testing.assert_array_equal(session.click(100, 60), wanted_click(bundle, (80, 100)))


def wanted_click(bundle: Path, columns: tuple[int, ...]) -> np.ndarray[Any, Any]:
    session = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
    for x in columns:
        session.click(x, 60)
    return session.mask


# ---- a busy server


def test_a_busy_server_is_tried_again_until_it_has_room() -> None:
    refused: list[str] = []

    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        kind = request.WhichOneof("event") or ""
        if len(refused) < 3 and kind == "click":
            refused.append(kind)
            reply.error.code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            reply.error.retry = True
            reply.applied_sequence = 0

    with FakeServer(script) as server, Client(server.address) as client:
        session = client.open(image_file())
        session.click(5, 5)
        assert len(refused) == 3
    refused.clear()
    with FakeServer(script) as server, Client(server.address, retry_seconds=0.1) as client:
        session = client.open(image_file())
        with pytest.raises(BusyError):
            session.click(5, 5)


def test_a_limit_that_stays_is_an_error_at_once() -> None:
    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.HasField("click"):
            reply.error.code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]

    with FakeServer(script) as server, Client(server.address) as client:
        session = client.open(image_file())
        with pytest.raises(LimitError) as raised:
            session.click(5, 5)
        assert not isinstance(raised.value, BusyError)
        assert server.count("click") == 1


@pytest.mark.parametrize(
    ("code", "details", "name"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the server is busy", "BusyError"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", ""),
        (grpc.StatusCode.UNAVAILABLE, "warming up", "UnavailableError"),
        (grpc.StatusCode.INTERNAL, "The actor died unexpectedly before finishing this task.", ""),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", ""),
        (grpc.StatusCode.UNAVAILABLE, "Received http2 header with status: 502", ""),
    ],
)
def test_open_and_models_try_again(code: grpc.StatusCode, details: str, name: str) -> None:
    class Refusing(FakeServer):
        refusals = 1

        def refuse(self, context: Any) -> None:
            if self.refusals:
                self.refusals -= 1
                context.set_trailing_metadata((("clickcut-error", name),) if name else ())
                context.abort(code, details)

        def Session(self, request_iterator: Any, context: Any) -> Iterator[pb.SessionReply]:  # noqa: N802
            self.refuse(context)
            yield from super().Session(request_iterator, context)

        def ListModels(self, request: Any, context: Any) -> pb.ListModelsReply:  # noqa: N802
            self.refuse(context)
            return super().ListModels(request, context)

    with Refusing() as server, Client(server.address) as client:
        assert client.open(image_file()).click(5, 5).any()
        server.refusals = 3
        assert client.models() == []


# ---- proxies


def clean_environment(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k.lower() not in PROXY_VARIABLES}
    return kept | variables


@pytest.mark.parametrize("variable", PROXY_VARIABLES[:3])
def test_loopback_never_goes_through_a_proxy(server: ServerProcess, variable: str) -> None:
    code = (
        "import asyncio; from clickcut.client import AsyncClient, Client\n"
        f"address = {server.address!r}\n"
        "for name in (address, address.replace('127.0.0.1', 'localhost')):\n"
        "    with Client(name) as client: client.models()\n"
        "async def play():\n"
        "    async with AsyncClient(address) as client: await client.models()\n"
        "asyncio.run(play())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(**{variable: "http://127.0.0.1:9"}),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("ipv6:[::1]:1", True),
        ("unix:/tmp/x", True),
        ("unix:///tmp/x", True),
        ("example.org:1", False),
        ("10.0.0.1:1", False),
        ("[2001:db8::1]:1", False),
        ("dns:///example.org:1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_what_is_local(address: str, local: bool) -> None:
    assert Endpoint(address).is_local == local
    assert dict(Endpoint(address).options)["grpc.enable_http_proxy"] == (not local)


def test_an_error_names_the_proxy_s_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in PROXY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    with Client("192.0.2.1:50051", retry_seconds=0.2) as client:
        with pytest.raises(UnreachableError, match="variable http_proxy is set") as raised:
            client.models()
        assert "secret" not in str(raised.value)
    monkeypatch.setenv("no_proxy", "example.org, 192.0.2.1")
    assert not Endpoint("192.0.2.1:50051").proxy


def test_a_body_limit_of_a_proxy_is_named_and_not_retried() -> None:
    error = _RpcError(grpc.StatusCode.UNKNOWN, "Received http2 header with status: 413")
    known = error_of_rpc(error, Endpoint("example.org:1"))
    assert isinstance(known, BodyLimitError)
    assert "client_max_body_size" in str(known)

    class Refusing(FakeServer):
        calls = 0

        def Segment(self, request: Any, context: Any) -> pb.SegmentReply:  # noqa: N802
            self.calls += 1
            context.abort(error.code(), error.details())
            raise AssertionError("abort raises")

    with Refusing() as server, Client(server.address) as client:
        with pytest.raises(BodyLimitError, match="413"):
            client.segment(image_file(), [(5, 5)])
        assert server.calls == 1


@pytest.mark.parametrize(
    ("details", "was_connected"),
    [
        ("no healthy upstream", False),
        (
            "upstream connect error or disconnect/reset before headers. retried and the latest "
            "reset reason: remote connection failure",
            False,
        ),
        (
            "upstream connect error or disconnect/reset before headers. reset reason: connection "
            "termination",
            True,
        ),
    ],
)
def test_what_envoy_says_of_the_server_behind_it(details: str, was_connected: bool) -> None:
    """Where no server has got the request, it may be sent as often as it takes."""
    known = error_of_rpc(_RpcError(grpc.StatusCode.UNAVAILABLE, details), Endpoint("example.org:1"))
    assert isinstance(known, UnreachableError)
    assert known.broke == was_connected


class _RpcError(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


# ---- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(
        ["openssl", *map(str, [*words.split(), *names])], check=True, capture_output=True
    )
    return certificate, key


@pytest.mark.slow
def test_a_tls_mismatch_is_named_either_way(
    bundle: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickcut.client.failures._PROBE_SECONDS", DEADLINE)
    chain, key = certificate
    trusted = grpc.ssl_channel_credentials(chain.read_bytes())
    with (
        FakeServer() as plain,
        Client(plain.address, credentials=trusted) as client,
        pytest.raises(UnreachableError, match="answers in plain text"),
    ):
        client.models()
    with ServerProcess(bundle, tls_cert=chain, tls_key=key) as server:
        with Client(server.address, credentials=trusted) as client:
            assert client.models()
        with Client(server.address) as client, pytest.raises(UnreachableError, match="speaks TLS"):
            client.models()
        unknown = Client(server.address, credentials=grpc.ssl_channel_credentials())
        with unknown as client, pytest.raises(UnreachableError, match="not signed by"):
            client.models()


# ---- loops, processes


def test_an_async_client_may_be_made_outside_a_loop(server: ServerProcess) -> None:
    client = AsyncClient(server.address)

    async def play() -> None:
        async with client:
            assert await client.models()

    asyncio.run(play())


def test_another_loop_is_refused_at_once(server: ServerProcess) -> None:
    client = AsyncClient(server.address)

    async def begin() -> Any:
        return await client.open(image_file())

    async def use_client() -> None:
        await client.models()

    async def use_session(session: Any) -> None:
        await session.click(5, 5)

    session = asyncio.run(begin())
    for use in (use_client(), use_session(session)):
        with pytest.raises(UsageError, match="another event loop"):
            asyncio.run(use)
    failed: list[BaseException] = []

    def in_thread() -> None:
        try:
            asyncio.run(use_client())
        except UsageError as error:
            failed.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert len(failed) == 1


FORKING = """
import os, sys
from clickcut.client import Client, UsageError
client = Client(sys.argv[1])
session = client.open(sys.stdin.buffer.read())
child = os.fork()
if not child:
    for use in (lambda: session.click(5, 5), client.models, client.close):
        try:
            use()
        except UsageError as error:
            assert "fork" in str(error)
        else:
            os._exit(3)
    del session, client, use
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert session.click(80, 60).any()
client.close()
"""


def test_a_forked_process_is_refused_at_once(server: ServerProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, server.address],
        input=image_file(),
        capture_output=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr.decode()


# ---- sessions that are never closed


def test_a_collected_session_is_closed() -> None:
    with FakeServer() as server, Client(server.address) as client:
        for _ in range(20):  # more than the server could hold open
            client.open(image_file()).click(5, 5)
        gc.collect()
        wait_until(lambda: server.count("close") == 20, "all sessions are closed")
        with client.open(image_file()) as session:
            session.click(5, 5)
        assert server.count("close") == 21


def test_a_collected_async_session_is_closed() -> None:
    async def play(server: FakeServer) -> None:
        async with AsyncClient(server.address) as client:
            for _ in range(20):
                session = await client.open(image_file())
                await session.click(5, 5)
                del session
            gc.collect()
            end = time.monotonic() + DEADLINE
            while server.count("close") < 20:
                assert time.monotonic() < end
                await asyncio.sleep(0.01)

    with FakeServer() as server:
        asyncio.run(play(server))


def test_a_program_that_ends_closes_its_sessions() -> None:
    code = (
        "import sys; from clickcut.client import Client, blocking\n"
        f"blocking.EXIT_SECONDS = {DEADLINE}\n"  # it ends when all is said
        "client = Client(sys.argv[1])\n"
        "sessions = [client.open(sys.argv[2].encode('latin1')) for _ in range(3)]"
    )
    with FakeServer() as server:
        subprocess.run(
            [sys.executable, "-c", code, server.address, "x"], check=True, timeout=DEADLINE
        )
        wait_until(lambda: server.count("close") == 3, "all sessions are closed")


def test_a_session_costs_one_thread(server: ServerProcess) -> None:
    with Client(server.address) as client:
        with client.open(image_file()):
            before = threading.active_count()
        sessions = [client.open(image_file()) for _ in range(10)]
        for session in sessions:
            session.click(80, 60)
        assert threading.active_count() - before < 11
        for session in sessions:
            session.close()
        wait_until(lambda: threading.active_count() <= before, "the threads have ended")
