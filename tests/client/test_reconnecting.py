"""A server that is there is reached at once, however long it was gone before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from client.test_hostile_server import HEIGHT, FakeServer
from server.harness import DEADLINE, image_file

from clickcut.client import AsyncClient, Client, UnreachableError
from clickcut.client.channel import Endpoint
from clickcut.v1 import clickcut_pb2 as pb
from clickcut_page.engine import Engine

options = Endpoint.options.fget


@pytest.fixture(autouse=True)
def _long_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No channel tries to connect a second time while a test runs."""

    def patient(self: Endpoint) -> list[tuple[str, int]]:
        assert options is not None
        longer = [
            (f"grpc.{name}_reconnect_backoff_ms", 600_000) for name in ("initial", "min", "max")
        ]
        return [option for option in options(self) if "backoff" not in option[0]] + longer

    monkeypatch.setattr(Endpoint, "options", property(patient))


CALLS: dict[str, Callable[[Any], Any]] = {
    "models": lambda client: client.models(),
    "is_serving": lambda client: client.is_serving(),
    "upload": lambda client: client.upload(image_file()),
    "open": lambda client: client.open(image_file()),
}


class Server(FakeServer):
    """Takes images as well."""

    def UploadImage(self, request_iterator: Any, context: Any) -> pb.UploadImageReply:  # noqa: N802
        for _ in request_iterator:
            pass
        return pb.UploadImageReply()


@pytest.mark.parametrize("name", CALLS)
def test_a_call(free_address: str, name: str) -> None:
    with Client(free_address, retry_seconds=0.0) as client:
        for _ in range(2):
            with pytest.raises(UnreachableError, match="no connection to a server at"):
                CALLS[name](client)
        with Server(address=free_address):
            CALLS[name](client)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_the_asyncio_client(free_address: str, name: str) -> None:
    async def play() -> None:
        async with AsyncClient(free_address, retry_seconds=0.0) as client:
            for _ in range(2):
                with pytest.raises(UnreachableError, match="no connection to a server at"):
                    await CALLS[name](client)
            with Server(address=free_address):
                await CALLS[name](client)

    asyncio.run(play())


def test_a_session(free_address: str) -> None:
    with Client(free_address, retry_seconds=0.0) as client:
        with Server(address=free_address):
            session = client.open(image_file())
            session.click(5, 5)
        for _ in range(2):
            with pytest.raises(UnreachableError):
                session.click(10, 5)
        with Server(address=free_address):
            assert session.click(20, 5).sum() == 20 * HEIGHT


def test_a_session_of_the_asyncio_client(free_address: str) -> None:
    async def play() -> None:
        async with AsyncClient(free_address, retry_seconds=0.0) as client:
            with Server(address=free_address):
                session = await client.open(image_file())
                await session.click(5, 5)
            for _ in range(2):
                with pytest.raises(UnreachableError):
                    await session.click(10, 5)
            with Server(address=free_address):
                assert (await session.click(20, 5)).sum() == 20 * HEIGHT

    asyncio.run(play())


def test_a_failure_of_another_call_is_not_reported(free_address: str) -> None:
    """As when a call that was cancelled had begun to connect."""
    with Client(free_address, retry_seconds=0.0) as client:
        lease = client._driver._channels.take()
        with pytest.raises(grpc.RpcError):
            lease.stub.ListModels(pb.ListModelsRequest(), timeout=DEADLINE)
        with Server(address=free_address):
            assert client.models() == []
        client._driver._release(lease)


def test_a_failure_of_another_call_is_not_reported_by_the_asyncio_client(
    free_address: str,
) -> None:
    async def play() -> None:
        async with AsyncClient(free_address, retry_seconds=0.0) as client:
            lease = client._driver._channels.take()
            with pytest.raises(grpc.RpcError):
                await lease.stub.ListModels(pb.ListModelsRequest(), timeout=DEADLINE)
            with Server(address=free_address):
                assert await client.models() == []
            client._driver._release(lease)

    asyncio.run(play())


def test_channels_that_could_not_connect_are_closed(
    free_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_channels: list[Any] = []
    create = Endpoint.channel

    def channel(self: Endpoint) -> Any:
        created = create(self)
        close = created.close

        def closing() -> None:
            open_channels.remove(created)
            close()

        created.close = closing
        open_channels.append(created)
        return created

    monkeypatch.setattr(Endpoint, "channel", channel)
    with Client(free_address, retry_seconds=0.0) as client:
        for _ in range(20):
            with pytest.raises(UnreachableError):
                client.models()
        assert not open_channels


def test_the_engine_of_a_page(free_address: str) -> None:
    async def play() -> None:
        engine = Engine(Endpoint(free_address))
        assert not await engine.is_serving()
        with Server(address=free_address):
            assert await engine.is_serving()
            stream = engine.session()
            opening = pb.SessionRequest(open=pb.Open(image=image_file()))
            await stream.write(opening.SerializeToString())
            assert pb.SessionReply.FromString(await stream.read()).session_id
        await engine.close()

    asyncio.run(play())
