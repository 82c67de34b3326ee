"""Calls that Ray Serve brings, in the shape of gRPC's: the engine's edge takes both.

The proxy of Ray Serve parses a client's messages and fetches those of a replica one by one. Here
they become bytes again, so that a replica answers with the same code as a server: its limits, its
errors, its trailing metadata.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from clickcut_scale.ray_internals import end_of_stream

Answer = Callable[[Any], Awaitable[None]]
"""Answers the call whose context it is given."""


class ServeContext(Protocol):
    """What is used of Ray Serve's `RayServegRPCContext`."""

    def peer(self) -> str:
        """Return the address of the client."""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        """Return the metadata that the client sent."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status."""

    def set_details(self, details: str) -> None:
        """Set the message of the status."""

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        """Set the metadata that ends the call."""


class Encoded:
    """A reply that is encoded already; Ray Serve encodes what a replica returns."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802
        """Return its bytes."""
        return self._data


class _End:
    """The status of a stream, in the place of its last reply; see `end_of_stream`."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._status = end_of_stream(code, details)

    def SerializeToString(self) -> Any:  # noqa: N802
        """Return the status."""
        return self._status


class RawCall:
    """A call in bytes; what `clickcut.server.edge` uses of gRPC's context.

    Args:
        requests: messages of the client.
        context: of Ray Serve.
    """

    def __init__(self, requests: AsyncIterator[Message], context: ServeContext) -> None:
        self._requests = requests
        self._context = context
        # Unbounded, as what follows is: Ray Serve takes replies faster than a client reads them.
        self._replies: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._aborted: tuple[grpc.StatusCode, str] | None = None

    # ---- for the edge

    def peer(self) -> str:
        """Return the address of the client, as gRPC writes it."""
        return self._context.peer()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that the client sent."""
        return tuple(self._context.invocation_metadata())

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Set what the client receives after the replies."""
        self._context.set_trailing_metadata([(str(key), str(v)) for key, v in metadata])

    async def read(self) -> Any:
        """Return the next message, encoded; `grpc.aio.EOF` when there are no more."""
        message = await anext(self._requests, None)
        if message is not None:
            return message.SerializeToString()
        if self.cancelled():
            raise asyncio.CancelledError
        return grpc.aio.EOF

    async def write(self, data: bytes) -> None:
        """Send an encoded message."""
        self._replies.put_nowait(data)

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """End the call with a status.

        Raises:
            AbortError: always.
        """
        self._aborted = code, details
        self._context.set_code(code)
        self._context.set_details(details)
        self.set_trailing_metadata(trailing_metadata)
        raise grpc.aio.AbortError

    def cancelled(self) -> bool:
        """Return whether the client is gone."""
        is_cancelled = getattr(self._requests, "is_cancelled", None)
        return is_cancelled is not None and is_cancelled()

    # ---- for the replica

    async def replies(self, answer: Answer) -> AsyncIterator[Encoded | _End]:
        """Answer the call; yield its replies, and its status unless it is OK."""
        work = asyncio.create_task(self._run(answer))
        try:
            while (data := await self._replies.get()) is not None:
                yield Encoded(data)
            await work
        finally:
            work.cancel()
        if self._aborted is not None:
            yield _End(*self._aborted)

    async def reply(self, answer: Answer) -> Encoded:
        """Answer the call; return its only reply, empty when the status is not OK."""
        data = b""
        async for reply in self.replies(answer):
            if isinstance(reply, Encoded):
                data = reply.SerializeToString()
        return Encoded(data)

    async def _run(self, answer: Answer) -> None:
        try:
            with contextlib.suppress(grpc.aio.AbortError):
                await answer(self)
        finally:
            self._replies.put_nowait(None)


async def one(message: Message) -> AsyncIterator[Message]:
    """Yield a single message: the request of a call that is no stream."""
    yield message
