"""The synchronous client.

Threads: several may use one client, and one session: its events then go one after the other. A
session costs one thread, in which gRPC sends; replies are read by whoever waits for them, and a
watchdog that all sessions share ends the wait when its time is over.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from clickcut.checks import text_of
from clickcut.client.arguments import (
    BoxLike,
    ClickLike,
    ParameterValues,
    parameters_message,
    segment_request,
)
from clickcut.client.channel import (
    KEEPALIVE_SECONDS,
    Channels,
    Lease,
    Target,
    UnreachableError,
    connection_broke,
    error_of_rpc,
    not_sent,
)
from clickcut.client.conversation import Conversation
from clickcut.client.picture import ImageSource, Picture, WindowLike
from clickcut.client.protocol import (
    Action,
    Call,
    Connect,
    Deadline,
    Disconnect,
    Exchange,
    Limits,
    Sleep,
    Talk,
    Upload,
    calling,
    segmenting,
    uploading,
)
from clickcut.client.replies import Mask, ModelInfo, Objects, Probability, mask_of, models_of
from clickcut.client.session import SessionBase
from clickcut.client.watchdog import watchdog
from clickcut.errors import ClickcutError, UsageError
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")

EXIT_SECONDS = 0.5
"""For how long a program that ends waits for its sessions to be closed."""


class Client:
    """A connection to a server.

    Use it in `with`, or call `close`. A session that is dropped without `close` is closed when it
    is collected.

    Args:
        address: HOST:PORT, or unix:PATH. A loopback address is never reached through a proxy.
        timeout: seconds that one call may take in all, uploads and retries included.
        retry_seconds: of these, for how long to try to reach a server that was lost, is busy, or
            not ready yet.
        keepalive_seconds: seconds after which a link that has gone silent counts as dead; the call
            that waits on it goes on over a new one.
        credentials: of gRPC, for TLS.

    Raises:
        EventError: an argument is not of its kind.
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._limits = Limits(timeout, retry_seconds)
        target = Target(address, credentials, keepalive_seconds)
        self._driver = _Driver(target, Channels(target.channel))
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()

    def open(
        self,
        image: ImageSource,
        *,
        model: str = "",
        parameters: ParameterValues | None = None,
        window: WindowLike | None = None,
    ) -> Session:
        """Open a session on an image.

        Args:
            image: path, file content, or (H, W, 3) uint8 RGB; sent only when the server lacks it.
            model: a name of `models()`, or NAME@VERSION; "" for the server's default.
            parameters: other than the model's defaults, by name.
            window: (low, high), the sample values of the file that are shown black and white; None
                for the range that samples of more than 8 bits take.

        Raises:
            ImageError: the image cannot be used.
            EventError: unknown model, bad parameters.
            BusyError: the server had no room until the time was over.
            UnreachableError: there is no server.
        """
        conversation = Conversation(
            Picture.of(image, window),
            text_of(model, "model"),
            parameters_message(parameters),
            self._limits,
        )
        session = Session(self._driver.another(), conversation)
        session._masking(conversation.opening())
        self._sessions.add(session)
        return session

    def segment(
        self,
        image: ImageSource,
        clicks: Iterable[ClickLike] = (),
        *,
        box: BoxLike | None = None,
        start_from: NDArray[np.bool_] | None = None,
        model: str = "",
        parameters: ParameterValues | None = None,
        window: WindowLike | None = None,
    ) -> Mask:
        """The mask (H, W) bool of an image, a box, if given, and all clicks, without a session."""
        request = segment_request(clicks, box, start_from, model, parameters)
        talk = segmenting(Picture.of(image, window), request, self._limits.start())
        return mask_of(self._driver.have(talk))

    def upload(self, image: ImageSource, *, window: WindowLike | None = None) -> str:
        """Send an image ahead, unless the server has it; returns its digest."""
        picture = Picture.of(image, window)
        self._driver.have(uploading(picture, self._limits.start()))
        return picture.digest

    def models(self) -> list[ModelInfo]:
        """The models of the server, its default first."""
        deadline = self._limits.start()
        talk = calling("ListModels", pb.ListModelsRequest(), deadline, harmless=True)
        return models_of(self._driver.have(talk))

    def close(self) -> None:
        """Close all sessions and the connection."""
        for session in list(self._sessions):
            session.close()
        self._driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Session(SessionBase[Mask, Probability, Objects]):
    """A session of `Client.open`; see `SessionBase`. Closes when used in `with`."""

    def __init__(self, driver: _Driver, conversation: Conversation) -> None:
        self._driver = driver
        self._conversation = conversation
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, driver.finish)
        self._finalizer.atexit = False  # then all are ended together
        _drivers.add(driver)

    def _masking(self, talk: Talk[None]) -> Mask:
        self._have(talk)
        return self.mask

    def _probing(self, talk: Talk[Probability]) -> Probability:
        return self._have(talk)

    def _listing(self, talk: Talk[Objects]) -> Objects:
        return self._have(talk)

    def _have(self, talk: Talk[T]) -> T:
        with self._lock:
            try:
                return self._driver.have(talk)
            except ClickcutError:
                raise
            except BaseException:
                self._conversation.interrupted()
                raise

    def close(self) -> None:
        """Free the session on the server."""
        self._have(self._conversation.closing())
        self._finalizer.detach()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Driver:
    """Does the actions of conversations over blocking channels; holds at most one stream."""

    def __init__(self, target: Target, channels: Channels[grpc.Channel]) -> None:
        self._target = target
        self._channels = channels
        self._process = os.getpid()
        self._stream: _Stream | None = None
        self._lease: Lease[grpc.Channel] | None = None

    def another(self) -> _Driver:
        """A driver over the same channels with a stream of its own."""
        self._check_process()
        return _Driver(self._target, self._channels)

    def have(self, talk: Talk[T]) -> T:
        """Have a conversation to its end.

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
        """Have the session closed without waiting for it; for one that is dropped unclosed.

        Returns:
            The stream that is ending.
        """
        stream, self._stream = self._stream, None
        if stream is None or self._process != os.getpid():
            return None
        stream.finish()
        return stream

    def close(self) -> None:
        """Close the channel."""
        if self._process == os.getpid() and (channel := self._channels.close()) is not None:
            channel.close()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise UsageError(
                "this client was made in another process, of which this one is a fork; make a "
                "client here"
            )

    # ---- actions

    def _do(self, action: Action) -> Any:
        try:
            match action:
                case Connect():
                    self._disconnect()
                    self._lease = self._channels.take()
                    self._stream = _Stream(self._lease.stub)
                case Exchange(request, deadline):
                    return self._exchange(request, deadline)
                case Disconnect():
                    self._disconnect()
                case Call(method, request, deadline):
                    return self._call(method, request, deadline)
                case Upload(requests, deadline):
                    return self._call("UploadImage", iter(requests), deadline)
                case Sleep(seconds):
                    time.sleep(seconds)
        except ValueError as error:  # of gRPC: the channel was closed
            raise UnreachableError(f"the client is closed ({error})") from error
        return None

    def _call(self, method: str, request: Any, deadline: Deadline) -> Any:
        lease = self._channels.take()
        try:
            return getattr(lease.stub, method)(request, timeout=deadline.left)
        except grpc.RpcError as error:
            if not deadline.left:
                self._channels.abandon(lease)
                raise deadline.error() from error
            raise error_of_rpc(error, self._target) from error
        finally:
            self._release(lease)

    def _exchange(self, request: pb.SessionRequest, deadline: Deadline) -> pb.SessionReply:
        if self._stream is None or self._lease is None:
            raise UnreachableError("the stream has ended")
        ended = self._stream.ended
        try:
            return self._stream.exchange(request, deadline)
        except grpc.RpcError as error:
            if not deadline.left:
                self._channels.abandon(self._lease)
                self._disconnect()
                raise deadline.error() from error
            self._disconnect()
            known = error_of_rpc(error, self._target)
            raise (not_sent(known) if ended else known) from error
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
        if self._lease is not None:
            self._release(self._lease)
            self._lease = None

    def _release(self, lease: Lease[grpc.Channel]) -> None:
        if (channel := self._channels.release(lease)) is not None:
            channel.close()


class _Stream:
    """A session stream. One thread at a time waits for replies."""

    def __init__(self, stub: Any) -> None:
        self._requests: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
        self._last = threading.Event()
        self._call: Any = stub.Session(self._outgoing())

    @property
    def ended(self) -> bool:
        """Whether nothing sent now can arrive."""
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
        """Close the session and end the stream, both in gRPC's thread."""
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
                for _ in self._call:  # what is not read would keep the stream
                    pass
        self._last.set()


_drivers: weakref.WeakSet[_Driver] = weakref.WeakSet()
"""Those that may hold a session when the program ends."""


@atexit.register
def _finish_all() -> None:
    streams = [s for driver in list(_drivers) if (s := driver.finish()) is not None]
    end = time.monotonic() + EXIT_SECONDS
    for stream in streams:
        stream.wait(max(0.0, end - time.monotonic()))
