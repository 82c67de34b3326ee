"""The synchronous client. Several threads may use one client, and one session.

The events of a session are applied one after the other, from any thread.
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


class Client:
    """A connection to a server.

    Use it in `with`, or call `close`. A session without `close` is closed when it is
    garbage-collected.

    Args:
        address: HOST:PORT, or unix:PATH. A loopback address is never reached through a proxy.
        timeout: total seconds for one call, including uploads and retries.
        retry_seconds: part of it to spend on reaching a server that is gone, busy or not ready.
        keepalive_seconds: seconds after which a silent connection counts as dead; a waiting call
            continues over a new one.
        credentials: of gRPC, for TLS.
        token: for a server that asks for one; None for that in the environment variable
            CLICKCUT_TOKEN, "" for none.
        plaintext_token: whether to send it without TLS to another machine as well; who can read
            the traffic then has it. None for what CLICKCUT_PLAINTEXT_TOKEN says, or False.

    Raises:
        EventError: an argument is invalid, or the token would be sent in plain text.
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
        self._driver = Driver(endpoint, Channels(endpoint.channel))
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
            image: path, file content, or (H, W, 3) uint8 RGB; sent only if the server lacks it.
            model: a name of `models()`, or NAME@VERSION; "" for the server's default.
            parameters: by name, to override the defaults of the model.
            window: (low, high), the sample values of the file that become 0 and 255; None for the
                range of the samples, if they have more than 8 bits.

        Raises:
            ImageError: the image cannot be used.
            EventError: unknown model, bad parameters.
            BusyError: the server was full until the timeout.
            UnreachableError: there is no server at the address.
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
        """Return the mask for an image and all its prompts, without a session.

        Args:
            image: as in `open`.
            clicks: (x, y) or (x, y, positive) each, image pixels, in order.
            box: x0, y0, x1, y1, image pixels; None without.
            start_from: (H, W) bool, initial mask; None without.
            model: as in `open`.
            parameters: as in `open`.
            window: as in `open`.

        Returns:
            (H, W) bool, read-only.

        Raises:
            ClickcutError: as in `open`; also `StalledError` after the timeout.
        """
        request = segment_request(clicks, box, start_from, model, parameters)
        talk = segmenting(Picture.of(image, window), request, self._limits.start())
        return mask_of(self._driver.run(talk))

    def upload(self, image: ImageSource, *, window: WindowLike | None = None) -> str:
        """Upload an image unless the server has it; return its digest, 64 hex digits.

        Raises:
            ImageError: the image cannot be used.
            UnreachableError: there is no server at the address.
        """
        picture = Picture.of(image, window)
        self._driver.run(uploading(picture, self._limits.start()))
        return picture.digest

    def models(self) -> list[ModelInfo]:
        """Return the models of the server, its default first."""
        deadline = self._limits.start()
        talk = calling("ListModels", pb.ListModelsRequest(), deadline, harmless=True)
        return models_of(self._driver.run(talk))

    def is_serving(self) -> bool:
        """Return whether the server is warm: `models` answers before, predictions do not.

        Raises:
            ClickcutError: it cannot be reached.
        """
        return self._driver.run(checking(self._limits.start()))

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
        self._finalizer.atexit = False  # at exit all are closed together
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
        """Close the session on the server and free its memory."""
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
