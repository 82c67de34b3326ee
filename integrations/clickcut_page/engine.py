"""The engine as the page's server sees it: raw session streams, uploads, and whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clickcut import grpc_status
from clickcut.client import UnreachableError
from clickcut.client.channel import Endpoint
from clickcut.client.routing import new_routing_key, routing_metadata
from clickcut.errors import AuthenticationError, ClickcutError
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

CHUNK = 2**19

_GRACE_SECONDS = 1.0
"""Seconds to wait for the calls of a replaced channel, which have failed, to be told so."""

_SESSION = "/clickcut.v1.Clickcut/Session"


class Engine:
    """A channel to an engine; made inside the event loop.

    Args:
        endpoint: of the engine.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.address = endpoint.address
        self._endpoint = endpoint
        # One key for the whole page: a session must reach the server that its image was sent to.
        self._metadata = endpoint.metadata + routing_metadata(new_routing_key())
        self._present = endpoint.aio_channel()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def _channel(self) -> grpc.aio.Channel:
        """The channel; a new one instead of one that could not connect.

        Until its back-off ends, that one would only repeat the failure.
        """
        if self._present.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            ended = self._present.close(_GRACE_SECONDS)
            task = asyncio.get_running_loop().create_task(ended)
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._present = self._endpoint.aio_channel()
        return self._present

    @property
    def _stub(self) -> Any:
        return clickcut_pb2_grpc.ClickcutStub(self._channel)

    def session(self) -> Any:
        """A new session stream of encoded messages."""
        # Without serializers: requests and replies pass as the bytes that they are.
        return self._channel.stream_stream(_SESSION)(metadata=self._metadata)

    async def upload(self, data: AsyncIterator[bytes]) -> pb.ImageInfo:
        """Send an image in chunks.

        Raises:
            ClickcutError: the engine refuses it or cannot be reached.
        """
        call = self._stub.UploadImage(metadata=self._metadata)
        try:
            try:
                async for part in data:
                    for at in range(0, len(part), CHUNK):
                        await call.write(pb.UploadImageRequest(chunk=part[at : at + CHUNK]))
                await call.done_writing()
            except asyncio.InvalidStateError:
                pass  # the engine has ended it already; its answer says why
            reply: pb.UploadImageReply = await call
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.address) from error
        finally:
            call.cancel()
        return reply.image

    async def is_serving(self) -> bool:
        """Whether it is warm and accepts requests.

        Raises:
            AuthenticationError: it does not accept the token, or asks for one.
        """
        request = pb.ListModelsRequest()
        try:
            await self._stub.ListModels(request, timeout=2.0, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            known = error_of(error, self.address)
            if isinstance(known, AuthenticationError):
                raise known from error
            return False
        return await self._is_warm()

    async def _is_warm(self) -> bool:
        """Whether its health says so; models are listed during the warm-up already."""
        try:
            health = health_pb2_grpc.HealthStub(self._channel)
            reply = await health.Check(health_pb2.HealthCheckRequest(), timeout=2.0)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED  # a proxy without health checks
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """End all streams."""
        await asyncio.gather(self._present.close(), *self._closing)


def error_of(error: grpc.aio.AioRpcError, address: str) -> ClickcutError:
    """The error that an RPC ended with; `UnreachableError` where no engine answered."""
    trailing: dict[str, Any] = dict(tuple(pair) for pair in error.trailing_metadata() or ())
    name = str(trailing.get(grpc_status.ERROR_KEY, ""))
    if not name and error.code() in _TRANSPORT:
        return UnreachableError(f"no engine answers at {address} ({error.details()})")
    return grpc_status.error_of(error.code(), error.details() or "", name)


_TRANSPORT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)
