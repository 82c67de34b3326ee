"""The synchronous client.

Threads: a session reads its replies in a thread of its own, so that waiting for one can time out.
Several threads may use one client, and one session: its events then go one after the other.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from clickcut.client.arguments import (
    ClickLike,
    ParameterValues,
    parameters_message,
    segment_request,
)
from clickcut.client.conversation import Conversation
from clickcut.client.picture import ImageSource, Picture
from clickcut.client.protocol import (
    CHANNEL_OPTIONS,
    Action,
    Call,
    Connect,
    Disconnect,
    Exchange,
    Sleep,
    Talk,
    UnreachableError,
    Upload,
    calling,
    connection_broke,
    error_of_rpc,
    not_sent,
    segmenting,
    uploading,
)
from clickcut.client.replies import Mask, ModelInfo, Probability, mask_of, models_of
from clickcut.client.session import SessionBase
from clickcut.errors import ClickcutError, StalledError
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

T = TypeVar("T")


class Client:
    """A connection to a server.

    Args:
        address: host:port.
        timeout: seconds to wait for one reply.
        retry_seconds: for how long to try to reach a server again that was lost, or that is not
            ready yet.
        credentials: of gRPC, for TLS.
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._retry_seconds = retry_seconds
        if credentials is None:
            self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)
        self._driver = _Driver(self._channel, address, timeout)
        self._sessions: set[Session] = set()

    def open(
        self,
        image: ImageSource,
        *,
        model: str = "",
        parameters: ParameterValues | None = None,
    ) -> Session:
        """Open a session on an image.

        Args:
            image: path, file content, or (H, W, 3) uint8 RGB; sent only when the server lacks it.
            model: a name of `models()`, or NAME@VERSION; "" for the server's default.
            parameters: other than the model's defaults, by name.

        Raises:
            ImageError: the image cannot be used.
            EventError: unknown model, bad parameters.
            LimitError: the server has no room.
            UnreachableError: there is no server.
        """
        conversation = Conversation(
            Picture.of(image), model, parameters_message(parameters), self._retry_seconds
        )
        session = Session(self._driver.another(), conversation, self._sessions.discard)
        session._masking(conversation.opening())
        self._sessions.add(session)
        return session

    def segment(
        self,
        image: ImageSource,
        clicks: Iterable[ClickLike],
        *,
        start_from: NDArray[np.bool_] | None = None,
        model: str = "",
        parameters: ParameterValues | None = None,
    ) -> Mask:
        """The mask (H, W) bool of an image and all its clicks, without a session."""
        request = segment_request(clicks, start_from, model, parameters)
        talk = segmenting(Picture.of(image), request, self._retry_seconds)
        return mask_of(self._driver.have(talk))

    def upload(self, image: ImageSource) -> str:
        """Send an image ahead, unless the server has it; returns its digest."""
        reply = self._driver.have(uploading(Picture.of(image), self._retry_seconds))
        return reply.image.digest

    def models(self) -> list[ModelInfo]:
        """The models of the server, its default first."""
        talk = calling("ListModels", pb.ListModelsRequest(), self._retry_seconds, harmless=True)
        return models_of(self._driver.have(talk))

    def close(self) -> None:
        """Close all sessions and the connection."""
        for session in list(self._sessions):
            session.close()
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Session(SessionBase[Mask, Probability]):
    """A session of `Client.open`; see `SessionBase`. Closes when used in `with`."""

    def __init__(self, driver: _Driver, conversation: Conversation, forget: Any) -> None:
        self._driver = driver
        self._conversation = conversation
        self._forget = forget
        self._lock = threading.Lock()

    def _masking(self, talk: Talk[None]) -> Mask:
        self._have(talk)
        return self.mask

    def _probing(self, talk: Talk[Probability]) -> Probability:
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
        self._forget(self)

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
    """Does the actions of conversations over a blocking channel; holds at most one stream."""

    def __init__(self, channel: grpc.Channel, address: str, timeout: float) -> None:
        self._channel = channel
        self._address = address
        self._timeout = timeout
        self._stub = clickcut_pb2_grpc.ClickcutStub(channel)
        self._stream: _Stream | None = None

    def another(self) -> _Driver:
        """A driver over the same channel with a stream of its own."""
        return _Driver(self._channel, self._address, self._timeout)

    def have(self, talk: Talk[T]) -> T:
        """Have a conversation to its end."""
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

    def _do(self, action: Action) -> Any:
        try:
            match action:
                case Connect():
                    self._disconnect()
                    self._stream = _Stream(self._stub)
                case Exchange(request):
                    return self._exchange(request)
                case Disconnect():
                    self._disconnect()
                case Call(method, request):
                    return getattr(self._stub, method)(request, timeout=self._timeout)
                case Upload(requests):
                    return self._stub.UploadImage(iter(requests), timeout=self._timeout)
                case Sleep(seconds):
                    time.sleep(seconds)
        except grpc.RpcError as error:
            raise error_of_rpc(error, self._address) from error
        except ValueError as error:  # of gRPC: the channel was closed
            raise UnreachableError(f"the client is closed ({error})") from error
        return None

    def _exchange(self, request: pb.SessionRequest) -> pb.SessionReply:
        if self._stream is None:
            raise UnreachableError("the stream has ended")
        ended = self._stream.ended
        try:
            return self._stream.exchange(request, self._timeout)
        except grpc.RpcError as error:
            self._disconnect()
            known = error_of_rpc(error, self._address)
            raise (not_sent(known) if ended else known) from error
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None


class _Stream:
    """A session stream whose replies are read in a thread."""

    def __init__(self, stub: clickcut_pb2_grpc.ClickcutStub) -> None:
        self._requests: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[pb.SessionReply | Exception] = queue.SimpleQueue()
        self._call = stub.Session(self._outgoing())
        threading.Thread(target=self._read, name="clickcut-replies", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether nothing sent now can arrive."""
        return not self._call.is_active()

    def exchange(self, request: pb.SessionRequest, timeout: float) -> pb.SessionReply:
        """Send a request, wait for its reply."""
        self._requests.put(request)
        try:
            reply = self._replies.get(timeout=timeout)
        except queue.Empty:
            raise StalledError(f"the server did not answer within {timeout:g} s") from None
        if isinstance(reply, Exception):
            raise reply
        return reply

    def cancel(self) -> None:
        """End the stream."""
        self._requests.put(None)
        with contextlib.suppress(RuntimeError):
            self._call.cancel()

    def _outgoing(self) -> Iterator[pb.SessionRequest]:
        while (request := self._requests.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for reply in self._call:
                self._replies.put(reply)
        except grpc.RpcError as error:
            self._replies.put(error)
        else:
            self._replies.put(connection_broke("the server ended the stream"))
