"""The edge of the server: limits the number and idle time of calls, parses messages.

An interceptor replaces every method by one that reads and writes bytes. So messages that cannot be
parsed, clients that send nothing and clients that read nothing are handled here, for all services,
health and reflection included, and are not reported as errors of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from clickcut import tracing
from clickcut.errors import AuthenticationError, ClickcutError, EventError, StalledError
from clickcut.grpc_status import ERROR_KEY, RETRY_KEY, code_of, retry_ms_of
from clickcut.server import logs
from clickcut.server.core import Core
from clickcut.server.fault_log import FaultLog
from clickcut.server.peers import Peer
from clickcut.server.rooms import Room
from clickcut.server.tokens import Credential
from clickcut.server.wire import check_fields

_MESSAGE_CHARACTERS = 1000
"""gRPC sends a status in its headers, which are limited."""
_SMALL_REPLY = 2**16
"""Bytes of a reply that is not counted."""
_STATUS_SECONDS = 1.0
"""Seconds to wait until a status is sent; gRPC continues to try."""

_WITH_TOKEN = "/clickcut.v1.Clickcut/"
"""Methods that need a token on a server that has some. Health and reflection tell nothing of
clients; the admin service has an address of its own, which is local or asks for a certificate."""

RawContext = grpc.aio.ServicerContext[Any, Any]
Handler = Any
"""A `grpc.RpcMethodHandler`, which has no useful type."""


class Edge(grpc.aio.ServerInterceptor):
    """Intercepts all calls of a server.

    Args:
        core: of the server.
    """

    def __init__(self, core: Core) -> None:
        settings = core.settings
        self.core = core
        self.pending = Room(settings.max_pending, "calls without a message")
        self._health = Room(settings.max_pending, "health checks")
        self._others = Room(settings.max_pending, "reflection calls")
        self._faults = FaultLog()
        self._strangers = FaultLog()
        core.on_shortage.append(self.pending.clear)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the method that is called, in raw bytes; None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)

        async def serve(_: object, context: RawContext) -> None:
            await self.serve(method, handler, context)

        return grpc.stream_stream_rpc_method_handler(serve)

    async def serve(self, method: str, handler: Handler, context: RawContext) -> None:
        """Answer one call.

        Args:
            method: its full name, `/PACKAGE.SERVICE/METHOD`.
            handler: of the method, with its (de)serializers.
            context: of the call, in bytes; of gRPC, or of a host that brings calls another way.
        """
        metadata, peer = context.invocation_metadata(), Peer.of(context.peer())
        with logs.request(method, peer, metadata) as request:
            context.set_trailing_metadata(((logs.REQUEST_ID_KEY, request.request_id),))
            if not method.startswith("/clickcut."):
                await self._serve(request, handler, context)
                return
            with tracing.serving(method, metadata, {"clickcut.request_id": request.request_id}):
                await self._serve(request, handler, context)

    async def _serve(
        self, request: logs.RequestContext, handler: Handler, context: RawContext
    ) -> None:
        method = request.method
        call = Call(self, handler, context)
        try:
            if method.startswith(_WITH_TOKEN):
                call.authenticate()
                request.peer = call.peer
            async with self._room_of(method, call.peer):
                await _answer(handler, call)
            return
        except grpc.aio.AbortError:
            raise
        except (grpc.aio.InternalError, asyncio.InvalidStateError):
            raise asyncio.CancelledError from None  # the client is gone
        except Exception as raised:
            if context.cancelled():  # there is no one left to answer
                raise asyncio.CancelledError from None
            if isinstance(raised, UnreadableError):
                self._faults.add(call.peer, f"{method}: {raised}")
            if isinstance(raised, AuthenticationError):
                self._strangers.add(call.peer, f"{method}: refused, no valid token")
            status = self._status_of(raised, request.request_id)
            tracing.mark_failed(status[1], int(status[0].value[0]))
        finally:
            call.release()
        # Outside the `except`: gRPC keeps what `abort` raises, and with it the error, its
        # traceback, a session and a model.
        try:
            async with asyncio.timeout(_STATUS_SECONDS):
                await context.abort(*status)
        except (TimeoutError, grpc.aio.InternalError):  # the client does not read, or is gone
            raise asyncio.CancelledError from None

    def _room_of(self, method: str, peer: Peer) -> contextlib.AbstractAsyncContextManager[None]:
        if method.startswith("/clickcut."):
            return contextlib.nullcontext()  # limited elsewhere: sessions, uploads, queue
        room = self._health if method.startswith("/grpc.health.") else self._others
        return room.place(peer)

    def _status_of(
        self, raised: Exception, request_id: str
    ) -> tuple[StatusCode, str, tuple[tuple[str, str], ...]]:
        """Return code, message and trailing metadata."""
        error = self.core.known_error(raised)
        kind = next(k for k in type(error).__mro__ if k.__module__ == ClickcutError.__module__)
        message = str(error)[:_MESSAGE_CHARACTERS]
        trailing = [(ERROR_KEY, kind.__name__), (logs.REQUEST_ID_KEY, request_id)]
        if (retry_ms := retry_ms_of(error)) is not None:
            trailing.append((RETRY_KEY, str(retry_ms)))
        return code_of(error), message, tuple(trailing)


class UnreadableError(EventError):
    """A message cannot be parsed."""


class Call:
    """A call with messages instead of bytes; otherwise as gRPC's context, which it wraps.

    Args:
        edge: of the server.
        handler: of the method.
        context: of the call, in bytes.

    Attributes:
        peer: who calls.
        credential: the token that it presented, after `authenticate`.
    """

    def __init__(self, edge: Edge, handler: Handler, context: RawContext) -> None:
        self.peer = Peer.of(context.peer())
        self.credential = Credential()
        self._edge = edge
        self._handler = handler
        self._context = context
        self._begun = False
        self._taken = 0
        """Bytes of the current message."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def authenticate(self) -> None:
        """Find out whose call it is.

        Raises:
            AuthenticationError: the server needs a token, and this call has no valid one.
        """
        tokens = self._edge.core.tokens
        self.credential = tokens.identify(self._context.invocation_metadata())
        self.peer = replace(self.peer, owner=self.credential.owner)

    async def read(self) -> Any:
        """Return the next message; `grpc.aio.EOF` when there are no more.

        Raises:
            EventError: it cannot be parsed.
            StalledError: the first one did not arrive in time.
            BusyError: too many calls wait for their first message, or there is no memory for it.
            LimitError: it has too many fields.
        """
        self.release()  # of the previous message
        raw = await (self._context.read() if self._begun else self._first())
        self._begun = True
        if raw is grpc.aio.EOF:
            return raw
        self._edge.core.incoming.take(len(raw))
        self._taken = len(raw)
        check_fields(raw)
        try:
            return self._handler.request_deserializer(raw)
        except (DecodeError, ValueError, UnicodeError, RecursionError) as error:
            raise UnreadableError(
                f"a message of {len(raw)} bytes is not one of the contract: make it with the "
                "stubs of its .proto file",
                reason="unreadable",
            ) from error

    def release(self) -> None:
        """Release the memory of the last message."""
        self._edge.core.incoming.give_back(self._taken)
        self._taken = 0

    async def _first(self) -> Any:
        seconds = self._edge.core.settings.open_seconds
        try:
            async with self._edge.pending.place(self.peer, seconds):
                return await self._context.read()
        except TimeoutError:
            raise StalledError(
                f"the call sent no message within {seconds:g} s", reason="open"
            ) from None

    async def write(self, message: Any) -> None:
        """Send a message.

        Raises:
            BusyError: it is large, and replies that clients do not read fill their memory.
            StalledError: the client does not read.
        """
        core = self._edge.core
        seconds = core.settings.write_seconds
        data = self._handler.response_serializer(message)
        # The message stays until it is sent. Small ones always pass: who reads them is no burden.
        held = 2 * len(data) if len(data) > _SMALL_REPLY else 0
        try:
            with core.outgoing.taking(held):
                async with asyncio.timeout(seconds):
                    await self._context.write(data)
        except TimeoutError:
            raise StalledError(
                f"the client read no reply for {seconds:g} s", reason="write"
            ) from None

    async def messages(self) -> AsyncIterator[Any]:
        """Yield all messages, for services that iterate over them."""
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message


async def _answer(handler: Handler, call: Call) -> None:
    """Run a method, of any of gRPC's kinds, to answer a call."""
    streams = handler.request_streaming, handler.response_streaming
    kinds = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, False): handler.stream_unary,
        (True, True): handler.stream_stream,
    }
    request = call.messages()
    if not handler.request_streaming:
        request = await call.read()
        if request is grpc.aio.EOF:
            raise EventError("the call ended without its message", reason="unreadable")
    replies = kinds[streams](request, call)
    if inspect.isasyncgen(replies):
        async for reply in replies:
            await call.write(reply)
        return
    reply = await replies
    if not handler.response_streaming:
        await call.write(reply)
