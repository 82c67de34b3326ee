"""The client for asyncio. An event may be cancelled; the session continues with the next one.

gRPC binds a channel to the running event loop. So it is created at first use, and client and
sessions belong to that loop from then on.
"""

from __future__ import annotations

import asyncio
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
from clickcut.client.awaiting import Driver, Home
from clickcut.client.channel import (
    KEEPALIVE_SECONDS,
    Channels,
    Endpoint,
    plaintext_or_default,
    token_or_default,
)
from clickcut.client.conversation import Conversation
from clickcut.client.picture import ImageSource, Picture, WindowLike
from clickcut.client.protocol import (
    Limits,
    Talk,
    calling,
    checking,
    segmenting,
    uploading,
)
from clickcut.client.replies import Mask, ModelInfo, Objects, Probability, mask_of, models_of
from clickcut.client.session import SessionBase
from clickcut.errors import ClickcutError
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")


class AsyncClient:
    """A connection to a server; the arguments are those of `Client`.

    It may be created anywhere and belongs to the event loop of its first call.
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        plaintext_token: bool | None = None,
    ) -> None:
        self._limits = Limits(timeout, retry_seconds)
        endpoint = Endpoint(
            address,
            credentials,
            keepalive_seconds,
            token_or_default(token),
            plaintext_or_default(plaintext_token),
        )
        self._driver = Driver(endpoint, Channels(endpoint.aio_channel), Home())
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
        """Return the mask (H, W) bool for an image and clicks; see `Client.segment`."""
        picture = await asyncio.to_thread(Picture.of, image, window)
        request = segment_request(clicks, box, start_from, model, parameters)
        talk = segmenting(picture, request, self._limits.start())
        return mask_of(await self._driver.run(talk))

    async def upload(self, image: ImageSource, *, window: WindowLike | None = None) -> str:
        """Upload an image unless the server has it; return its digest."""
        picture = await asyncio.to_thread(Picture.of, image, window)
        await self._driver.run(uploading(picture, self._limits.start()))
        return picture.digest

    async def models(self) -> list[ModelInfo]:
        """Return the models of the server, its default first."""
        deadline = self._limits.start()
        talk = calling("ListModels", pb.ListModelsRequest(), deadline, harmless=True)
        return models_of(await self._driver.run(talk))

    async def is_serving(self) -> bool:
        """Return whether the server is warm; see `Client.is_serving`."""
        return await self._driver.run(checking(self._limits.start()))

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

    def __init__(self, driver: Driver, conversation: Conversation) -> None:
        self._driver = driver
        self._conversation = conversation
        self._lock = asyncio.Lock()
        self._finalizer = weakref.finalize(self, driver.finish)
        self._finalizer.atexit = False  # no loop runs then

    async def _masking(self, talk: Talk[None]) -> Mask:
        await self._run(talk)
        return self.mask

    async def _probing(self, talk: Talk[Probability]) -> Probability:
        return await self._run(talk)

    async def _listing(self, talk: Talk[Objects]) -> Objects:
        return await self._run(talk)

    async def _run(self, talk: Talk[T]) -> T:
        self._driver.check_home()
        async with self._lock:
            try:
                return await self._driver.run(talk)
            except ClickcutError:
                raise
            except BaseException:
                self._conversation.interrupted()
                raise

    async def close(self) -> None:
        """Close the session on the server and free its memory."""
        await self._run(self._conversation.closing())
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
