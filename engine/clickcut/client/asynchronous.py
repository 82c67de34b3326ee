"""The client for asyncio. An event may be cancelled; the session goes on with the next one.

gRPC binds a channel to the event loop that runs when it is made. So it is made at first use, and
client and sessions belong to that loop from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import Coroutine, Iterable
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
    CLOSE_SECONDS,
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
from clickcut.errors import ClickcutError, UsageError
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")


class AsyncClient:
    """A connection to a server; the arguments are those of `Client`.

    It may be made anywhere, and is used in one event loop: the one of its first call.
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
        self._driver = _Driver(target, Channels(target.aio_channel), _Home())
        self._sessions: weakref.WeakSet[AsyncSession] = weakref.WeakSet()

    async def open(
        self,
        image: ImageSource,
        *,
        model: str = "",
        parameters: ParameterValues | None = None,
        window: WindowLike | None = None,
    ) -> AsyncSession:
        """Open a session on an image; see `Client.open`."""
        driver = self._driver.another()
        picture = await asyncio.to_thread(Picture.of, image, window)
        conversation = Conversation(
            picture, text_of(model, "model"), parameters_message(parameters), self._limits
        )
        session = AsyncSession(driver, conversation)
        await session._masking(conversation.opening())
        self._sessions.add(session)
        return session

    async def segment(
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
        picture = await asyncio.to_thread(Picture.of, image, window)
        request = segment_request(clicks, box, start_from, model, parameters)
        talk = segmenting(picture, request, self._limits.start())
        return mask_of(await self._driver.have(talk))

    async def upload(self, image: ImageSource, *, window: WindowLike | None = None) -> str:
        """Send an image ahead, unless the server has it; returns its digest."""
        picture = await asyncio.to_thread(Picture.of, image, window)
        await self._driver.have(uploading(picture, self._limits.start()))
        return picture.digest

    async def models(self) -> list[ModelInfo]:
        """The models of the server, its default first."""
        deadline = self._limits.start()
        talk = calling("ListModels", pb.ListModelsRequest(), deadline, harmless=True)
        return models_of(await self._driver.have(talk))

    async def close(self) -> None:
        """Close all sessions and the connection."""
        for session in list(self._sessions):
            await session.close()
        await self._driver.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncSession(
    SessionBase[
        Coroutine[Any, Any, Mask], Coroutine[Any, Any, Probability], Coroutine[Any, Any, Objects]
    ]
):
    """A session of `AsyncClient.open`; see `SessionBase`. Closes when used in `async with`."""

    def __init__(self, driver: _Driver, conversation: Conversation) -> None:
        self._driver = driver
        self._conversation = conversation
        self._lock = asyncio.Lock()
        self._finalizer = weakref.finalize(self, driver.finish)
        self._finalizer.atexit = False  # no loop runs any more then

    async def _masking(self, talk: Talk[None]) -> Mask:
        await self._have(talk)
        return self.mask

    async def _probing(self, talk: Talk[Probability]) -> Probability:
        return await self._have(talk)

    async def _listing(self, talk: Talk[Objects]) -> Objects:
        return await self._have(talk)

    async def _have(self, talk: Talk[T]) -> T:
        self._driver.check_home()
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
        self._finalizer.detach()

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Home:
    """The process and the event loop in which a client is used."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Settle in the running loop, or check that it is the one.

        Raises:
            UsageError: this is another loop, or a forked process.
        """
        if self._process != os.getpid():
            raise UsageError(
                "this client was made in another process, of which this one is a fork; make a "
                "client here"
            )
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise UsageError(
                "this AsyncClient is in use in another event loop; make one for this loop "
                "(each asyncio.run has a loop of its own)"
            )

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, if it can still run something."""
        usable = self._loop is not None and self._loop.is_running()
        return self._loop if usable and self._process == os.getpid() else None


class _Driver:
    """Does the actions of conversations on the event loop; holds at most one stream."""

    def __init__(self, target: Target, channels: Channels[grpc.aio.Channel], home: _Home) -> None:
        self._target = target
        self._channels = channels
        self._home = home
        self._stream: Any = None
        self._lease: Lease[grpc.aio.Channel] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def another(self) -> _Driver:
        """A driver over the same channels with a stream of its own."""
        self.check_home()
        return _Driver(self._target, self._channels, self._home)

    def check_home(self) -> None:
        """Check that the client may be used here; see `_Home.check`."""
        self._home.check()

    async def have(self, talk: Talk[T]) -> T:
        """Have a conversation to its end.

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
        """Have the session closed without waiting for it; for one that is dropped unclosed."""
        stream, self._stream = self._stream, None
        if stream is not None and (loop := self._home.loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(self._start, self._finish(stream))

    async def close(self) -> None:
        """Close the channel."""
        self.check_home()
        if (channel := self._channels.close()) is not None:
            await channel.close()

    # ---- actions

    async def _do(self, action: Action) -> Any:
        try:
            match action:
                case Connect():
                    self._disconnect()
                    self._lease = self._channels.take()
                    self._stream = self._lease.stub.Session()
                case Exchange(request, deadline):
                    return await self._exchange(request, deadline)
                case Disconnect():
                    self._disconnect()
                case Call(method, request, deadline):
                    return await self._call(method, request, deadline)
                case Upload(requests, deadline):
                    return await self._call("UploadImage", iter(requests), deadline)
                case Sleep(seconds):
                    await asyncio.sleep(seconds)
        except grpc.aio.UsageError as error:  # the channel was closed
            raise UnreachableError(f"the client is closed ({error})") from error
        return None

    async def _call(self, method: str, request: Any, deadline: Deadline) -> Any:
        lease = self._channels.take()
        try:
            return await getattr(lease.stub, method)(request, timeout=deadline.left)
        except grpc.aio.AioRpcError as error:
            if not deadline.left:
                self._channels.abandon(lease)
                raise deadline.error() from error
            raise error_of_rpc(error, self._target) from error
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
            self._disconnect()
            known = error_of_rpc(error, self._target)
            raise (not_sent(known) if ended else known) from error
        except BaseException:
            self._disconnect()
            raise
        if reply is grpc.aio.EOF:
            self._disconnect()
            raise connection_broke("the server ended the stream")
        found: pb.SessionReply = reply
        return found

    async def _finish(self, stream: Any) -> None:
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await stream.write(pb.SessionRequest(close=pb.Close()))
                await stream.done_writing()
                await stream.read()
        stream.cancel()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
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
