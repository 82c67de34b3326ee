"""Waiting for a server that is not there yet."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from server.harness import DEADLINE, START_SECONDS, Gate, Line, ServerProcess
from typer.testing import CliRunner

from clickcut.client import AsyncClient, Client, UnreachableError
from clickcut.client.waiting import wait_until_serving
from clickcut.commands.health import app as health_command
from clickcut.errors import StalledError, UnavailableError, UsageError


def test_a_server_that_comes_later(server: ServerProcess) -> None:
    with Line(server.port) as line:
        line.cut()
        with Client(line.address, retry_seconds=0.1) as client:
            with pytest.raises(UnreachableError):
                client.models()
            timer = threading.Timer(1.0, line.mend)
            timer.start()
            assert wait_until_serving(client, DEADLINE)[0].name == "toy"
            timer.join()


def test_a_server_that_does_not_come() -> None:
    with Client("127.0.0.1:9", retry_seconds=0.1) as client, pytest.raises(UnreachableError):
        wait_until_serving(client, 0.5)


def test_a_client_that_is_closed_is_not_waited_for(server: ServerProcess) -> None:
    client = Client(server.address)
    client.close()
    with pytest.raises(UsageError, match="the client is closed"):
        wait_until_serving(client, 600)


def test_a_server_that_is_there_but_not_warm(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.close()
    with (
        ServerProcess(bundle, prelude=gate.prelude, wait=False) as server,
        Client(server.address) as client,
    ):
        assert client.models()
        assert not client.is_serving()
        with pytest.raises(UnavailableError, match="warming up"):
            wait_until_serving(client, 0.1)
        gate.open()
        assert wait_until_serving(client, START_SECONDS)
        assert client.is_serving()


@pytest.fixture(params=["NONE", "SERVING", "NOT_SERVING"])
def health(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """What a server says of its health, and its address; NONE: it has no such service."""
    server = grpc.server(ThreadPoolExecutor(2))
    if request.param != "NONE":
        servicer = HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(request.param))
        add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield request.param, f"127.0.0.1:{port}"
    server.stop(0).wait()


def test_a_server_without_health_checks_counts_as_warm(health: tuple[str, str]) -> None:
    said, address = health
    with Client(address) as client:
        assert client.is_serving() == (said != "NOT_SERVING")


def test_for_the_asyncio_client_as_well(health: tuple[str, str]) -> None:
    said, address = health

    async def ask() -> bool:
        async with AsyncClient(address) as client:
            return await client.is_serving()

    assert asyncio.run(ask()) == (said != "NOT_SERVING")


def test_health_of_a_server_that_is_not_there() -> None:
    async def ask() -> bool:
        async with AsyncClient("127.0.0.1:9") as client:
            return await client.is_serving()

    with pytest.raises(UnreachableError):
        asyncio.run(ask())
    with Client("127.0.0.1:9") as client, pytest.raises(UnreachableError):
        client.is_serving()


# ---- a server that takes its time


class SlowLine(Line):
    """Lets the first bytes of a connection pass only after a second."""

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        time.sleep(1.0)
        super()._pump(source, target)


def test_a_slow_handshake(server: ServerProcess) -> None:
    with SlowLine(server.port) as line, Client(line.address, retry_seconds=0.0) as client:
        assert client.models()


def test_a_slow_handshake_with_the_asyncio_client(server: ServerProcess) -> None:
    async def play(address: str) -> None:
        async with AsyncClient(address, retry_seconds=0.0) as client:
            assert await client.models()

    with SlowLine(server.port) as line:
        asyncio.run(play(line.address))


# ---- a server that accepts and says nothing


@pytest.fixture
def mute_address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_mute_server_is_told_from_none(mute_address: str) -> None:
    with Client(mute_address, timeout=0.5) as client:
        for ask in (client.models, client.is_serving, lambda: client.open(b"x")):
            with pytest.raises(StalledError, match=r"did not answer within 0\.5 s"):
                ask()
    done = CliRunner().invoke(health_command, [mute_address, "--timeout", "0.5"])
    assert done.exit_code == 1
    assert done.output.startswith(f"{mute_address} did not answer in time")


def test_the_asyncio_client_tells_it_as_well(mute_address: str) -> None:
    async def play() -> None:
        async with AsyncClient(mute_address, timeout=0.5) as client:
            for ask in (client.models, client.is_serving, lambda: client.open(b"x")):
                with pytest.raises(StalledError, match=r"did not answer within 0\.5 s"):
                    await ask()

    asyncio.run(play())
