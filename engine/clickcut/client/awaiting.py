"""Perform the actions of conversations on an event loop, for the asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

from clickcut import tracing
from clickcut.client.channel import SERVICE, SESSION_METHOD, Channels, Endpoint, Lease, Metadata
from clickcut.client.failures import UnreachableError, connection_broke, failure, not_sent
from clickcut.client.protocol import (
    CLOSE_SECONDS,
    Action,
    Call,
    Check,
    Connect,
    Deadline,
    Disconnect,
    Exchange,
    Sleep,
    Talk,
    Upload,
)
from clickcut.client.routing import routing_metadata
from clickcut.errors import ClickcutError, UsageError
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")


class Home:
    """The process and the event loop in which a client is used."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Bind to the running loop, or check that it is the bound one.

        Raises:
            UsageError: this is another loop, or a forked process.
        """
        if self._process != os.getpid():
            raise UsageError(
                "this client was created in the parent of this forked process; create one here"
            )
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise UsageError(
                "this AsyncClient is in use in another event loop; create one for this loop "
                "(each asyncio.run has its own loop)"
            )

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop; None if it is closed."""
        usable = self._loop is not None and self._loop.is_running()
        return self._loop if usable and self._process == os.getpid() else None


class Driver:
    """Performs the actions of conversations on the event loop; holds at most one stream."""

    def __init__(
        self, endpoint: Endpoint, channels: Channels[grpc.aio.Channel], home: Home
    ) -> None:
        self._endpoint = endpoint
        self._channels = channels
        self._home = home
        self._stream: Any = None
        self._lease: Lease[grpc.aio.Channel] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._trace = tracing.NO_STREAM

    def another(self) -> Driver:
        """Return a driver over the same channels with a separate stream."""
        self.check_home()
        return Driver(self._endpoint, self._channels, self._home)

    def check_home(self) -> None:
        """Check that the client may be used here; see `Home.check`."""
        self._home.check()

    async def run(self, talk: Talk[T]) -> T:
        """Run a conversation to its end.

        Raises:
            UsageError: in another loop or process.
            ClickcutError: what the conversation raises.
        """
        self.check_home()
        try:
            action = next(talk)
            while True:
                try:
                    result = await self._do(action)
                except ClickcutError as error:
                    action = talk.throw(error)
                else:
                    action = talk.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except ClickcutError:
            raise
        except BaseException:
            self._disconnect()
            talk.close()
            raise

    def finish(self) -> None:
        """Close the session without waiting; for one that is garbage-collected unclosed."""
        stream, self._stream = self._stream, None
        if stream is not None and (loop := self._home.loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(self._start, self._end_stream(stream))

    async def close(self) -> None:
        """Close the channel."""
        self.check_home()
        if (channel := self._channels.close()) is not None:
            await channel.close()

    # ---- actions

    async def _do(self, action: Action) -> Any:
        try:
            match action:
                case Connect(routing_key):
                    self._disconnect()
                    self._lease = self._channels.take()
                    self._trace = tracing.StreamTrace(SESSION_METHOD)
                    metadata = self._metadata(routing_key) + self._trace.metadata
                    self._stream = self._lease.stub.Session(metadata=metadata)
                case Exchange(request, deadline):
                    with self._trace.event(request.WhichOneof("event"), request.sequence):
                        return await self._exchange(request, deadline)
                case Disconnect():
                    self._disconnect()
                case Call(method, request, deadline, routing_key):
                    return await self._call(method, request, deadline, routing_key)
                case Check(deadline, routing_key):
                    return await self._check(deadline, routing_key)
                case Upload(requests, deadline, routing_key):
                    return await self._call("UploadImage", iter(requests), deadline, routing_key)
                case Sleep(seconds):
                    await asyncio.sleep(seconds)
        except grpc.aio.UsageError as error:  # the channel was closed
            raise UsageError("the client is closed; create a new one") from error
        return None

    def _metadata(self, routing_key: str) -> Metadata:
        return self._endpoint.metadata + routing_metadata(routing_key)

    async def _call(self, method: str, request: Any, deadline: Deadline, routing_key: str) -> Any:
        lease = self._channels.take()
        try:
            with tracing.calling(f"{SERVICE}/{method}"):
                call = getattr(lease.stub, method)
                metadata = self._metadata(routing_key) + tracing.outgoing()
                return await call(request, timeout=deadline.left, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error, lease, deadline) from error
        finally:
            self._release(lease)

    async def _check(self, deadline: Deadline, routing_key: str) -> bool:
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        lease = self._channels.take()
        try:
            check = health_pb2_grpc.HealthStub(lease.channel).Check
            request = health_pb2.HealthCheckRequest()
            metadata = self._metadata(routing_key)
            reply = await check(request, timeout=deadline.left, metadata=metadata)
            return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return True  # a proxy without health checks
            raise self._failure(error, lease, deadline) from error
        finally:
            self._release(lease)

    async def _exchange(self, request: pb.SessionRequest, deadline: Deadline) -> pb.SessionReply:
        if self._stream is None or self._lease is None:
            raise UnreachableError("the stream has ended")
        ended = self._stream.done()
        try:
            async with asyncio.timeout(deadline.left):
                if not ended:
                    await self._stream.write(request)
                reply = await self._stream.read()
        except TimeoutError:
            self._channels.abandon(self._lease)
            self._disconnect()
            raise deadline.error() from None
        except asyncio.InvalidStateError as error:  # written to a stream that has ended
            self._disconnect()
            raise connection_broke("the stream has ended") from error
        except grpc.aio.AioRpcError as error:
            known = self._failure(error, self._lease, deadline)
            self._disconnect()
            raise (not_sent(known) if ended else known) from error
        except BaseException:
            self._disconnect()
            raise
        if reply is grpc.aio.EOF:
            self._disconnect()
            raise connection_broke("the server ended the stream")
        found: pb.SessionReply = reply
        return found

    async def _end_stream(self, stream: Any) -> None:
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await stream.write(pb.SessionRequest(close=pb.Close()))
                await stream.done_writing()
                await stream.read()
        stream.cancel()
        self._disconnect()

    def _failure(
        self, error: grpc.RpcError, lease: Lease[grpc.aio.Channel], deadline: Deadline
    ) -> ClickcutError:
        if not deadline.left:
            self._channels.abandon(lease)
            return deadline.error()
        return failure(error, self._endpoint, self._channels, lease, deadline.started)

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
        self._trace.end()
        if self._lease is not None:
            self._release(self._lease)
            self._lease = None

    def _release(self, lease: Lease[grpc.aio.Channel]) -> None:
        if (channel := self._channels.release(lease)) is not None:
            self._start(channel.close())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
