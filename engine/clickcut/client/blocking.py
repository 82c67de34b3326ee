"""Perform the actions of conversations over blocking channels, for the synchronous client.

A session costs one thread, in which gRPC sends. Replies are read by the waiting thread; a watchdog
shared by all sessions ends the wait at its deadline.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc

from clickcut import tracing
from clickcut.client.channel import SERVICE, SESSION_METHOD, Channels, Endpoint, Lease, Metadata
from clickcut.client.failures import UnreachableError, connection_broke, failure, not_sent
from clickcut.client.protocol import (
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
from clickcut.client.watchdog import watchdog
from clickcut.errors import ClickcutError, UsageError
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")

EXIT_SECONDS = 0.5
"""Maximum seconds that a program waits at exit for its sessions to be closed."""


class Driver:
    """Performs the actions of conversations over blocking channels; holds at most one stream."""

    def __init__(self, endpoint: Endpoint, channels: Channels[grpc.Channel]) -> None:
        self._endpoint = endpoint
        self._channels = channels
        self._process = os.getpid()
        self._stream: _Stream | None = None
        self._lease: Lease[grpc.Channel] | None = None
        self._trace = tracing.NO_STREAM

    def another(self) -> Driver:
        """Return a driver over the same channels with a separate stream."""
        self._check_process()
        return Driver(self._endpoint, self._channels)

    def run(self, talk: Talk[T]) -> T:
        """Run a conversation to its end.

        Raises:
            UsageError: in a forked process.
            ClickcutError: what the conversation raises.
        """
        self._check_process()
        try:
            action = next(talk)
            while True:
                try:
                    result = self._do(action)
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

    def finish(self) -> _Stream | None:
        """Close the session without waiting; for one that is garbage-collected unclosed.

        Returns:
            The stream that is ending.
        """
        stream, self._stream = self._stream, None
        if stream is None or self._process != os.getpid():
            return None
        stream.finish()
        self._trace.end()
        return stream

    def close(self) -> None:
        """Close the channel."""
        if self._process == os.getpid() and (channel := self._channels.close()) is not None:
            channel.close()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise UsageError(
                "this client was created in the parent of this forked process; create one here"
            )

    # ---- actions

    def _do(self, action: Action) -> Any:
        try:
            match action:
                case Connect(routing_key):
                    self._disconnect()
                    self._lease = self._channels.take()
                    self._trace = tracing.StreamTrace(SESSION_METHOD)
                    metadata = self._metadata(routing_key) + self._trace.metadata
                    self._stream = _Stream(self._lease.stub, metadata)
                case Exchange(request, deadline):
                    with self._trace.event(request.WhichOneof("event"), request.sequence):
                        return self._exchange(request, deadline)
                case Disconnect():
                    self._disconnect()
                case Call(method, request, deadline, routing_key):
                    return self._call(method, request, deadline, routing_key)
                case Check(deadline, routing_key):
                    return self._check(deadline, routing_key)
                case Upload(requests, deadline, routing_key):
                    return self._call("UploadImage", iter(requests), deadline, routing_key)
                case Sleep(seconds):
                    time.sleep(seconds)
        except ValueError as error:  # of gRPC: the channel was closed
            raise UsageError("the client is closed; create a new one") from error
        return None

    def _metadata(self, routing_key: str) -> Metadata:
        return self._endpoint.metadata + routing_metadata(routing_key)

    def _call(self, method: str, request: Any, deadline: Deadline, routing_key: str) -> Any:
        lease = self._channels.take()
        try:
            with tracing.calling(f"{SERVICE}/{method}"):
                call = getattr(lease.stub, method)
                metadata = self._metadata(routing_key) + tracing.outgoing()
                return call(request, timeout=deadline.left, metadata=metadata)
        except grpc.RpcError as error:
            raise self._failure(error, lease, deadline) from error
        finally:
            self._release(lease)

    def _check(self, deadline: Deadline, routing_key: str) -> bool:
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        lease = self._channels.take()
        try:
            check = health_pb2_grpc.HealthStub(lease.channel).Check
            request = health_pb2.HealthCheckRequest()
            metadata = self._metadata(routing_key)
            reply = check(request, timeout=deadline.left, metadata=metadata)
            return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return True  # a proxy without health checks
            raise self._failure(error, lease, deadline) from error
        finally:
            self._release(lease)

    def _exchange(self, request: pb.SessionRequest, deadline: Deadline) -> pb.SessionReply:
        if self._stream is None or self._lease is None:
            raise UnreachableError("the stream has ended")
        ended = self._stream.ended
        try:
            return self._stream.exchange(request, deadline)
        except grpc.RpcError as error:
            known = self._failure(error, self._lease, deadline)
            self._disconnect()
            raise (not_sent(known) if ended else known) from error
        except BaseException:
            self._disconnect()
            raise

    def _failure(
        self, error: grpc.RpcError, lease: Lease[grpc.Channel], deadline: Deadline
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

    def _release(self, lease: Lease[grpc.Channel]) -> None:
        if (channel := self._channels.release(lease)) is not None:
            channel.close()


class _Stream:
    """A session stream. One thread at a time waits for replies."""

    def __init__(self, stub: Any, metadata: Metadata) -> None:
        self._requests: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
        self._last = threading.Event()
        self._call: Any = stub.Session(self._outgoing(), metadata=metadata)

    @property
    def ended(self) -> bool:
        """Whether the stream has ended."""
        return not self._call.is_active()

    def exchange(self, request: pb.SessionRequest, deadline: Deadline) -> pb.SessionReply:
        """Send a request, wait for its reply.

        Raises:
            grpc.RpcError: the stream ended, or the deadline is over, which ends it.
            UnreachableError: the server ended the stream.
        """
        self._requests.put(request)
        with watchdog.calling(self._call.cancel, deadline.left):
            try:
                reply: pb.SessionReply = next(self._call)
            except StopIteration:
                raise connection_broke("the server ended the stream") from None
        return reply

    def cancel(self) -> None:
        """End the stream."""
        self._requests.put(None)
        with contextlib.suppress(RuntimeError):
            self._call.cancel()

    def finish(self) -> None:
        """Close the session and end the stream, in gRPC's thread."""
        self._requests.put(pb.SessionRequest(close=pb.Close()))
        self._requests.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until nothing is left to send."""
        self._last.wait(seconds)

    def _outgoing(self) -> Iterator[pb.SessionRequest]:
        closing = False
        while (request := self._requests.get()) is not None:
            closing = request.HasField("close")
            yield request
        if closing:
            with contextlib.suppress(grpc.RpcError):
                for _ in self._call:  # unread replies would keep the stream open
                    pass
        self._last.set()


open_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()
"""Drivers that may hold a session at exit."""


@atexit.register
def _finish_all() -> None:
    streams = [s for driver in list(open_drivers) if (s := driver.finish()) is not None]
    end = time.monotonic() + EXIT_SECONDS
    for stream in streams:
        stream.wait(max(0.0, end - time.monotonic()))
