"""What a client says and what it makes of the replies, apart from how they travel.

The conversation is written once, as generators that yield what to do next (`Connect`, `Exchange`,
`Call`, `Upload`, `Sleep`) and are sent what came of it, or get the error thrown in. The two
drivers, one synchronous and one for asyncio, do these few things and nothing else.

A session survives a broken stream: the client resumes it by its id and sends the event that was not
answered again, which its sequence makes safe. When the server does not know the session any more,
because it was started anew, the client opens it again and replays its own list of events.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from clickcut.client.picture import Picture
from clickcut.client.replies import InvalidReplyError
from clickcut.errors import ClickcutError, ImageNotFoundError, UnavailableError
from clickcut.grpc_status import ERROR_KEY, error_of
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")

INLINE_BYTES = 4 * 2**20 - 2**16
"""A larger file is uploaded in chunks; this fits into gRPC's default message limit."""

CHUNK = 2**19

MAX_REPLY_BYTES = 256 * 2**20
"""Largest reply; a mask of 100 megapixels with an edge at every other pixel fits."""

MAX_BREAKS = 2
"""How often one request may break the connection. One that stops its server must not be sent to
every server that takes its place."""

CONNECT_SECONDS = 1.0
"""For how long to try to reach a server that has not answered yet."""

FIRST_DELAY, LONGEST_DELAY = 0.05, 1.0
"""Seconds between attempts to reach the server."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class UnreachableError(UnavailableError):
    """There is no connection to the server, or it broke.

    Attributes:
        broke: a connection was there and broke, so a request may have been received.
    """

    broke = False


def connection_broke(message: str) -> UnreachableError:
    """The error of a connection that was there and broke."""
    error = UnreachableError(message)
    error.broke = True
    return error


def not_sent(error: ClickcutError) -> ClickcutError:
    """The same error, of a connection that broke before the request was sent."""
    if isinstance(error, UnreachableError):
        error.broke = False
    return error


def broke(error: ClickcutError) -> bool:
    """Whether a connection broke that a request may have been sent on."""
    return isinstance(error, UnreachableError) and error.broke


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a new session stream, in place of the present one."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a request on the stream; the result is its reply."""

    request: pb.SessionRequest


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Give up the stream."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call a unary method; the result is its reply."""

    method: str
    request: Any


@dataclass(frozen=True, slots=True)
class Upload:
    """Call `UploadImage` with these messages; the result is its reply."""

    requests: Sequence[pb.UploadImageRequest]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


Action = Connect | Exchange | Disconnect | Call | Upload | Sleep
Talk = Generator[Action, Any, T]
"""A conversation: yields actions, is sent their results, returns a T."""


_NOT_CONNECTED = re.compile(
    r"failed to connect|resol(ution|ve)|addresses|TRANSIENT_FAILURE|Connection refused", re.I
)
"""Details of a status that says that there was no connection at all."""


_DAMAGED = re.compile(r"deserializ|parsing", re.I)
"""Details of a status that says that a reply is no message of the contract."""


def error_of_rpc(error: grpc.RpcError, address: str) -> ClickcutError:
    """The error that an RPC ended with."""
    metadata: Any = error.trailing_metadata() or ()
    trailing: dict[str, Any] = dict(tuple(pair) for pair in metadata)
    name = str(trailing.get(ERROR_KEY, ""))
    code, details = error.code(), error.details() or ""
    transport = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    )
    if not name and code in transport:
        if _DAMAGED.search(details):
            return InvalidReplyError(f"{address} sent a reply that cannot be read ({details})")
        if _NOT_CONNECTED.search(details):
            return UnreachableError(
                f"no connection to a server at {address}: is it running (clickcut serve)? "
                f"({details})"
            )
        return connection_broke(f"the connection to {address} broke ({details})")
    return error_of(code, details, name)


class Patience:
    """Waits longer and longer between attempts, and gives up after some time.

    Args:
        seconds: for how long to try.
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._delay = FIRST_DELAY

    def wait(self, error: ClickcutError) -> Talk[None]:
        """Wait before the next attempt.

        Raises:
            ClickcutError: the one given, when the time is up.
        """
        if time.monotonic() + self._delay > self._deadline:
            raise error
        yield Sleep(self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)


def persisting(
    attempt: Callable[[], Talk[T]], retry_seconds: float, harmless: bool = False
) -> Talk[T]:
    """Try again while the server says that it is not ready; for a moment when it is not there.

    Args:
        attempt: what to try.
        retry_seconds: for how long.
        harmless: it cannot be what stops a server; else it is not sent again once the connection
            broke twice on it, and only when a server answers.
    """
    starting = Patience(retry_seconds)
    missing = Patience(min(retry_seconds, CONNECT_SECONDS))
    breaks = 0
    while True:
        try:
            return (yield from attempt())
        except UnreachableError as error:
            breaks += error.broke and not harmless
            if breaks >= MAX_BREAKS:
                raise
            yield from missing.wait(error) if not breaks else _answered(retry_seconds)
        except UnavailableError as error:
            yield from starting.wait(error)


def _answered(retry_seconds: float) -> Talk[None]:
    """Wait until a server answers."""
    yield from calling("ListModels", pb.ListModelsRequest(), retry_seconds, harmless=True)


def calling(method: str, request: Any, retry_seconds: float, harmless: bool = False) -> Talk[Any]:
    """Call a unary method; see `persisting`."""

    def attempt() -> Talk[Any]:
        return (yield Call(method, request))

    return persisting(attempt, retry_seconds, harmless)


def uploading(picture: Picture, retry_seconds: float) -> Talk[pb.UploadImageReply]:
    """Send an image in chunks, unless the server has it."""
    data = picture.data
    requests = [
        pb.UploadImageRequest(digest=picture.digest),
        *(pb.UploadImageRequest(chunk=data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)),
    ]

    def attempt() -> Talk[pb.UploadImageReply]:
        reply: pb.UploadImageReply = yield Upload(requests)
        return reply

    return persisting(attempt, retry_seconds)


def segmenting(
    picture: Picture, request: pb.SegmentRequest, retry_seconds: float
) -> Talk[pb.SegmentReply]:
    """Ask for a mask; the image travels only when the server lacks it."""
    request.image_digest = picture.digest
    reply: pb.SegmentReply
    try:
        reply = yield from calling("Segment", request, retry_seconds)
        return reply
    except ImageNotFoundError:
        if len(picture.data) <= INLINE_BYTES:
            request.image = picture.data
        else:
            yield from uploading(picture, retry_seconds)
    reply = yield from calling("Segment", request, retry_seconds)
    return reply
