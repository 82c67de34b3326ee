"""The client for asyncio. An event may be cancelled; the session goes on with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
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


class AsyncClient:
    """A connection to a server; the arguments are those of `Client`."""

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
            self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, CHANNEL_OPTIONS)
        self._driver = _Driver(self._channel, address, timeout)
        self._sessions: set[AsyncSession] = set()

    async def open(
        self,
        image: ImageSource,
        *,
        model: str = "",
        parameters: ParameterValues | None = None,
    ) -> AsyncSession:
        """Open a session on an image; see `Client.open`."""
        picture = await asyncio.to_thread(Picture.of, image)
        message = parameters_message(parameters)
        conversation = Conversation(picture, model, message, self._retry_seconds)
        session = AsyncSession(self._driver.another(), conversation, self._sessions.discard)
        await session._masking(conversation.opening())
        self._sessions.add(session)
        return session

    async def segment(
        self,
        image: ImageSource,
        clicks: Iterable[ClickLike],
        *,
        start_from: NDArray[np.bool_] | None = None,
        model: str = "",
        parameters: ParameterValues | None = None,
    ) -> Mask:
        """The mask (H, W) bool of an image and all its clicks, without a session."""
        picture = await asyncio.to_thread(Picture.of, image)
        request = segment_request(clicks, start_from, model, parameters)
        talk = segmenting(picture, request, self._retry_seconds)
        return mask_of(await self._driver.have(talk))

    async def upload(self, image: ImageSource) -> str:
        """Send an image ahead, unless the server has it; returns its digest."""
        picture = await asyncio.to_thread(Picture.of, image)
        reply = await self._driver.have(uploading(picture, self._retry_seconds))
        return reply.image.digest

    async def models(self) -> list[ModelInfo]:
        """The models of the server, its default first."""
        talk = calling("ListModels", pb.ListModelsRequest(), self._retry_seconds, harmless=True)
        return models_of(await self._driver.have(talk))

    async def close(self) -> None:
        """Close all sessions and the connection."""
        for session in list(self._sessions):
            await session.close()
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncSession(SessionBase[Coroutine[Any, Any, Mask], Coroutine[Any, Any, Probability]]):
    """A session of `AsyncClient.open`; see `SessionBase`. Closes when used in `async with`."""

    def __init__(self, driver: _Driver, conversation: Conversation, forget: Any) -> None:
        self._driver = driver
        self._conversation = conversation
        self._forget = forget
        self._lock = asyncio.Lock()

    async def _masking(self, talk: Talk[None]) -> Mask:
        await self._have(talk)
        return self.mask

    async def _probing(self, talk: Talk[Probability]) -> Probability:
        return await self._have(talk)

    async def _have(self, talk: Talk[T]) -> T:
        async with self._lock:
            try:
                return await self._driver.have(talk)
            except ClickcutError:
                raise
            except BaseException:
                self._conversation.interrupted()
                raise

    async def close(self) -> None:
        """Free the session on the server."""
        await self._have(self._conversation.closing())
        self._forget(self)

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Driver:
    """Does the actions of conversations on the event loop; holds at most one stream."""

    def __init__(self, channel: grpc.aio.Channel, address: str, timeout: float) -> None:
        self._channel = channel
        self._address = address
        self._timeout = timeout
        self._stub: Any = clickcut_pb2_grpc.ClickcutStub(channel)
        self._stream: Any = None

    def another(self) -> _Driver:
        """A driver over the same channel with a stream of its own."""
        return _Driver(self._channel, self._address, self._timeout)

    async def have(self, talk: Talk[T]) -> T:
        """Have a conversation to its end."""
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

    async def _do(self, action: Action) -> Any:
        try:
            match action:
                case Connect():
                    self._disconnect()
                    self._stream = self._stub.Session()
                case Exchange(request):
                    return await self._exchange(request)
                case Disconnect():
                    self._disconnect()
                case Call(method, request):
                    return await getattr(self._stub, method)(request, timeout=self._timeout)
                case Upload(requests):
                    return await self._stub.UploadImage(iter(requests), timeout=self._timeout)
                case Sleep(seconds):
                    await asyncio.sleep(seconds)
        except grpc.aio.AioRpcError as error:
            raise error_of_rpc(error, self._address) from error
        except grpc.aio.UsageError as error:  # the channel was closed
            raise UnreachableError(f"the client is closed ({error})") from error
        return None

    async def _exchange(self, request: pb.SessionRequest) -> pb.SessionReply:
        if self._stream is None:
            raise UnreachableError("the stream has ended")
        ended = self._stream.done()
        try:
            async with asyncio.timeout(self._timeout):
                if not ended:
                    await self._stream.write(request)
                reply = await self._stream.read()
        except TimeoutError:
            self._disconnect()
            raise StalledError(f"the server did not answer within {self._timeout:g} s") from None
        except asyncio.InvalidStateError as error:  # written to a stream that has ended
            self._disconnect()
            raise connection_broke("the stream has ended") from error
        except grpc.aio.AioRpcError as error:
            self._disconnect()
            known = error_of_rpc(error, self._address)
            raise (not_sent(known) if ended else known) from error
        except BaseException:
            self._disconnect()
            raise
        if reply is grpc.aio.EOF:
            self._disconnect()
            raise connection_broke("the server ended the stream")
        found: pb.SessionReply = reply
        return found

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
