"""The synchronous client. Several threads may use one client, and one session.

The events of a session go one after the other, whichever thread they come from.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TypeVar

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
from clickcut.client.blocking import Driver, open_drivers
from clickcut.client.channel import KEEPALIVE_SECONDS, Channels, Target
from clickcut.client.conversation import Conversation
from clickcut.client.picture import ImageSource, Picture, WindowLike
from clickcut.client.protocol import (
    Limits,
    Talk,
    calling,
    segmenting,
    uploading,
)
from clickcut.client.replies import Mask, ModelInfo, Objects, Probability, mask_of, models_of
from clickcut.client.session import SessionBase
from clickcut.errors import ClickcutError
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")


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
        self._driver = Driver(target, Channels(target.channel))
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
        """Return the mask (H, W) bool for an image, clicks and a box, without a session."""
        request = segment_request(clicks, box, start_from, model, parameters)
        talk = segmenting(Picture.of(image, window), request, self._limits.start())
        return mask_of(self._driver.run(talk))

    def upload(self, image: ImageSource, *, window: WindowLike | None = None) -> str:
        """Send an image ahead, unless the server has it; returns its digest."""
        picture = Picture.of(image, window)
        self._driver.run(uploading(picture, self._limits.start()))
        return picture.digest

    def models(self) -> list[ModelInfo]:
        """Return the models of the server, its default first."""
        deadline = self._limits.start()
        talk = calling("ListModels", pb.ListModelsRequest(), deadline, harmless=True)
        return models_of(self._driver.run(talk))

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

    def __init__(self, driver: Driver, conversation: Conversation) -> None:
        self._driver = driver
        self._conversation = conversation
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, driver.finish)
        self._finalizer.atexit = False  # then all are ended together
        open_drivers.add(driver)

    def _masking(self, talk: Talk[None]) -> Mask:
        self._run(talk)
        return self.mask

    def _probing(self, talk: Talk[Probability]) -> Probability:
        return self._run(talk)

    def _listing(self, talk: Talk[Objects]) -> Objects:
        return self._run(talk)

    def _run(self, talk: Talk[T]) -> T:
        with self._lock:
            try:
                return self._driver.run(talk)
            except ClickcutError:
                raise
            except BaseException:
                self._conversation.interrupted()
                raise

    def close(self) -> None:
        """Free the session on the server."""
        self._run(self._conversation.closing())
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
