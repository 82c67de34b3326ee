"""The engine as the page's server sees it: raw session streams, uploads, and whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from clickcut import grpc_status
from clickcut.client import UnreachableError
from clickcut.errors import ClickcutError
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

CHUNK = 2**19

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
)

_SESSION = "/clickcut.v1.Clickcut/Session"


class Engine:
    """A channel to an engine; made inside the event loop.

    Args:
        address: HOST:PORT.
        credentials: for TLS; None for plain text.
    """

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.address = address
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, CHANNEL_OPTIONS)
        self._stub: Any = clickcut_pb2_grpc.ClickcutStub(self._channel)
        # Without serializers: requests and replies pass as the bytes that they are.
        self._session: Any = self._channel.stream_stream(_SESSION)

    def session(self) -> Any:
        """A new session stream of encoded messages."""
        return self._session()

    async def upload(self, data: AsyncIterator[bytes]) -> pb.ImageInfo:
        """Send an image in chunks.

        Raises:
            ClickcutError: the engine refuses it or cannot be reached.
        """
        call = self._stub.UploadImage()
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
        """Whether it answers."""
        try:
            await self._stub.ListModels(pb.ListModelsRequest(), timeout=2.0)
        except grpc.aio.AioRpcError:
            return False
        return True

    async def close(self) -> None:
        """End all streams."""
        await self._channel.close()


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
