"""The engine as the page's server sees it: raw session streams, uploads, and whether it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from clickcut.client.protocol import CHANNEL_OPTIONS, CHUNK, error_of_rpc
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

_SESSION = "/clickcut.v1.Clickcut/Session"


class Engine:
    """A channel to an engine; made inside the event loop.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
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

        async def requests() -> AsyncIterator[pb.UploadImageRequest]:
            async for part in data:
                for at in range(0, len(part), CHUNK):
                    yield pb.UploadImageRequest(chunk=part[at : at + CHUNK])

        try:
            reply: pb.UploadImageReply = await self._stub.UploadImage(requests())
        except grpc.aio.AioRpcError as error:
            raise error_of_rpc(error, self.address) from error
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
