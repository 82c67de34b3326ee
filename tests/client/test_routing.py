"""What clients send along so that a router can keep a session on one server."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from server.harness import Line, ServerProcess, encode, image_file

from clickcut.client import AsyncClient, Client, UnavailableError
from clickcut.client.channel import Endpoint
from clickcut.client.protocol import INLINE_BYTES
from clickcut.client.routing import APPLICATION
from clickcut.v1 import clickcut_pb2 as pb
from clickcut_page.engine import Engine

pytestmark = pytest.mark.slow


class Recorder(grpc.ServerInterceptor):
    """A relay to a real server that keeps the metadata of each call, by method."""

    def __init__(self, target: str) -> None:
        self.seen: dict[str, list[dict[str, str]]] = defaultdict(list)
        self._channel = grpc.insecure_channel(target)
        self._server = grpc.server(ThreadPoolExecutor(8), interceptors=[self])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{self.port}"

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        method = details.method
        self.seen[method.rpartition("/")[2]].append(dict(details.invocation_metadata))

        def relay(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = self._channel.stream_stream(method)(requests)
            try:
                yield from call
            except grpc.RpcError as error:
                context.set_trailing_metadata(call.trailing_metadata())
                context.abort(error.code(), error.details())

        return grpc.stream_stream_rpc_method_handler(relay)

    def keys(self, method: str) -> list[str]:
        return [metadata["session_id"] for metadata in self.seen[method]]

    def __enter__(self) -> Recorder:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._channel.close()


def large_image() -> bytes:
    """A PNG that is too large for one message."""

    noise = np.random.default_rng(0).integers(0, 256, (1300, 1200, 3), np.uint8)
    data = encode(noise)
    assert len(data) > INLINE_BYTES
    return data


def test_all_requests_of_a_session_have_one_key(server: ServerProcess) -> None:
    with (
        Recorder(server.address) as recorder,
        Line(recorder.port) as line,
        Client(line.address) as client,
    ):
        session = client.open(large_image())
        session.click(5, 5)
        line.cut()
        line.mend()
        session.click(6, 6)
        assert len(recorder.keys("Session")) >= 3  # by its digest, after the upload, resumed
        assert len(recorder.keys("UploadImage")) == 1
        assert len({*recorder.keys("Session"), *recorder.keys("UploadImage")}) == 1
        assert session.id not in recorder.keys("Session")  # it gives access to the session
        client.open(large_image()).close()
        assert len(set(recorder.keys("Session"))) == 2


def test_requests_without_a_session_follow_their_image(server: ServerProcess) -> None:
    first, second = image_file(seed=71), image_file(seed=72)
    with Recorder(server.address) as recorder, Client(recorder.address) as client:
        client.upload(first)
        client.segment(first, [(5, 5)])
        client.segment(second, [(5, 5)])
        client.models()
        keys = recorder.keys("UploadImage") + recorder.keys("Segment")
        assert len(set(keys)) == 2
        assert keys[0] == keys[1] != keys[-1]
        calls = [metadata for seen in recorder.seen.values() for metadata in seen]
        assert {metadata["application"] for metadata in calls} == {APPLICATION}


def test_the_asyncio_client_sends_the_same(server: ServerProcess) -> None:
    async def run(address: str) -> None:
        async with AsyncClient(address) as client:
            session = await client.open(image_file(seed=73))
            await session.click(5, 5)
            await client.models()

    with Recorder(server.address) as recorder:
        asyncio.run(run(recorder.address))
        assert len(set(recorder.keys("Session"))) == 1
        assert len(recorder.keys("ListModels")) == 1


def test_a_page_sends_an_image_to_the_server_that_has_its_session(server: ServerProcess) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield image_file(seed=74)

    async def run(address: str) -> None:
        engine = Engine(Endpoint(address))
        info = await engine.upload(chunks())
        stream = engine.session()
        opening = pb.SessionRequest(open=pb.Open(image_digest=info.digest))
        await stream.write(opening.SerializeToString())
        assert pb.SessionReply.FromString(await stream.read()).session_id
        await engine.close()

    with Recorder(server.address) as recorder:
        asyncio.run(run(recorder.address))
        assert recorder.keys("UploadImage") == recorder.keys("Session")


class Absent(grpc.GenericRpcHandler):
    """Ray Serve's proxy while the application is not there."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        def answer(requests: object, context: grpc.ServicerContext) -> Iterator[bytes]:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                "Application 'clickcut' not found. Ping "
                "/ray.serve.RayServeAPIService/ListApplications for available applications.",
            )
            yield b""

        return grpc.stream_stream_rpc_method_handler(answer)


def test_an_application_that_is_not_there_yet_is_waited_for() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Absent(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}", retry_seconds=0.3) as client:
            with pytest.raises(UnavailableError, match="Ray Serve answers"):
                client.models()
            with pytest.raises(UnavailableError, match="Ray Serve answers"):
                client.open(image_file())
    finally:
        server.stop(0).wait()
