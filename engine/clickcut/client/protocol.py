"""The client's side of the protocol, independent of the transport.

The conversation is written once, as generators that yield the next action (`Connect`, `Exchange`,
`Call`, `Upload`, `Sleep`) and receive the result, or have the error raised in them. The two
drivers, synchronous and asyncio, perform these actions and nothing else.

A session survives a broken stream: the client resumes it by its id and sends the unanswered event
again, which its sequence makes safe. If the server no longer knows the session, because it was
restarted, the client opens a new one and replays its own list of events.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from clickcut.client.failures import UnreachableError
from clickcut.client.picture import Picture
from clickcut.client.routing import new_routing_key
from clickcut.errors import (
    BusyError,
    ClickcutError,
    EventError,
    ImageNotFoundError,
    StalledError,
    UnavailableError,
)
from clickcut.v1 import clickcut_pb2 as pb

T = TypeVar("T")

INLINE_BYTES = 4 * 2**20 - 2**16
"""A larger file is uploaded in chunks; this fits into gRPC's default message limit."""

CHUNK = 2**19

MAX_BREAKS = 2
"""Maximum number of times that one request may break the connection. One that crashes its server
must not be sent to every replacement."""

CONNECT_SECONDS = 1.0
"""Seconds to try to reach a server that has not answered yet."""

CLOSE_SECONDS = 5.0
"""Seconds to wait for a session to be closed; otherwise the server evicts it later."""

FIRST_DELAY, LONGEST_DELAY = 0.05, 1.0
"""Seconds between attempts to reach the server."""

RETRY_JITTER = 0.5
"""Maximum additional delay when the server names one, as a fraction of it: those refused together
must not return together."""

_MAX_SECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a new session stream, replacing the current one."""

    routing_key: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a request on the stream; the result is its reply."""

    request: pb.SessionRequest
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the stream."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call a unary method; the result is its reply."""

    method: str
    request: Any
    deadline: Deadline
    routing_key: str


@dataclass(frozen=True, slots=True)
class Check:
    """Check the health of the server; the result is whether it is warm and not shutting down."""

    deadline: Deadline
    routing_key: str


@dataclass(frozen=True, slots=True)
class Upload:
    """Call `UploadImage` with these messages; the result is its reply."""

    requests: Sequence[pb.UploadImageRequest]
    deadline: Deadline
    routing_key: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


Action = Connect | Exchange | Disconnect | Call | Check | Upload | Sleep
Talk = Generator[Action, Any, T]
"""A conversation: yields actions, is sent their results, returns a T."""


# ---- how long things may take


@dataclass(frozen=True, slots=True)
class Limits:
    """How long calls may take.

    Attributes:
        timeout: total seconds for one call, including uploads and retries.
        retry_seconds: part of it to spend on reaching a server that is gone or busy.
    """

    timeout: float
    retry_seconds: float

    def __post_init__(self) -> None:
        for name, value, minimum in (
            ("timeout", self.timeout, 1e-3),
            ("retry_seconds", self.retry_seconds, 0.0),
        ):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not minimum <= value <= _MAX_SECONDS:
                raise EventError(
                    f"{name} is a number of seconds from {minimum:g} to {_MAX_SECONDS:g}, "
                    f"got {value!r}"
                )

    def start(self, longest: float = math.inf) -> Deadline:
        """Return the deadline of a call that begins now and may take at most `longest` seconds."""
        return Deadline(min(self.timeout, longest), self.retry_seconds)


class Deadline:
    """The deadline of a call.

    Args:
        seconds: from now on.
        retry_seconds: see `Limits`.

    Attributes:
        started: when the call began, by `time.monotonic`.
    """

    def __init__(self, seconds: float, retry_seconds: float) -> None:
        self.retry_seconds = retry_seconds
        self.started = time.monotonic()
        self._seconds = seconds
        self._end = self.started + seconds

    @property
    def left(self) -> float:
        """Remaining seconds, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def error(self) -> StalledError:
        """Return the error to raise after it."""
        return StalledError(
            f"the server did not answer within {self._seconds:g} s; nothing is lost, the next call "
            "continues from here"
        )


class Patience:
    """Waits between attempts, with exponential backoff, and gives up after some time.

    A server that names the time to come back is not asked earlier; when that time is beyond the
    end, nothing is awaited.

    Args:
        deadline: of the call.
        seconds: maximum time to try.
    """

    def __init__(self, deadline: Deadline, seconds: float = math.inf) -> None:
        self._end = time.monotonic() + min(seconds, deadline.retry_seconds, deadline.left)
        self._delay = FIRST_DELAY

    def wait(self, error: ClickcutError) -> Talk[None]:
        """Wait before the next attempt; not after a failure that may be older than the call.

        Raises:
            ClickcutError: the one given, when the time is up.
        """
        if isinstance(error, UnreachableError) and error.is_old:
            return
        left = self._end - time.monotonic()
        # Jitter: clients that lost a server together must not return together.
        delay = max(self._delay * random.uniform(0.75, 1.25), error.retry_after)
        if delay > left:
            raise error
        if error.retry_after:
            delay = min(delay + error.retry_after * random.uniform(0.0, RETRY_JITTER), left)
        yield Sleep(delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)


# ---- calls


def persisting(
    attempt: Callable[[], Talk[T]], deadline: Deadline, harmless: bool = False
) -> Talk[T]:
    """Retry while the server is busy or not ready, and briefly while it cannot be reached.

    Args:
        attempt: what to try.
        deadline: of the call.
        harmless: whether the request cannot crash a server; otherwise it is not sent again after
            it broke the connection twice, and only when a server answers.
    """
    starting = Patience(deadline)
    missing = Patience(deadline, CONNECT_SECONDS)
    breaks = 0
    while True:
        try:
            return (yield from attempt())
        except UnreachableError as error:
            breaks += error.broke
            if breaks >= MAX_BREAKS and not harmless:
                raise
            if not breaks:
                yield from missing.wait(error)
            elif harmless:
                yield from starting.wait(error)
            else:
                yield from calling("ListModels", pb.ListModelsRequest(), deadline, harmless=True)
        except (UnavailableError, BusyError) as error:
            yield from starting.wait(error)


def calling(
    method: str, request: Any, deadline: Deadline, harmless: bool = False, routing_key: str = ""
) -> Talk[Any]:
    """Call a unary method; see `persisting`.

    Args:
        method: its name.
        request: its message.
        deadline: of the call.
        harmless: see `persisting`.
        routing_key: of the requests that it belongs to; "" if it stands alone.
    """
    key = routing_key or new_routing_key()

    def attempt() -> Talk[Any]:
        return (yield Call(method, request, deadline, key))

    return persisting(attempt, deadline, harmless)


def checking(deadline: Deadline) -> Talk[bool]:
    """Return whether the server is warm and not shutting down; see `persisting`."""
    key = new_routing_key()

    def attempt() -> Talk[bool]:
        serves: bool = yield Check(deadline, key)
        return serves

    return persisting(attempt, deadline, harmless=True)


def uploading(
    picture: Picture, deadline: Deadline, routing_key: str = ""
) -> Talk[pb.UploadImageReply]:
    """Upload an image in chunks, unless the server has it.

    Args:
        picture: the image.
        deadline: of the call.
        routing_key: of the session that needs the image; "" for that of the image itself.
    """
    key = routing_key or picture.routing_key
    data = picture.data
    requests = [
        pb.UploadImageRequest(digest=picture.digest, window=picture.window),
        *(pb.UploadImageRequest(chunk=data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)),
    ]

    def attempt() -> Talk[pb.UploadImageReply]:
        reply: pb.UploadImageReply = yield Upload(requests, deadline, key)
        return reply

    return persisting(attempt, deadline)


def segmenting(
    picture: Picture, request: pb.SegmentRequest, deadline: Deadline
) -> Talk[pb.SegmentReply]:
    """Request a mask; send the image only if the server does not have it."""
    key = picture.routing_key
    request.image_digest = picture.digest
    if picture.window is not None:
        request.window.CopyFrom(picture.window)
    reply: pb.SegmentReply
    try:
        reply = yield from calling("Segment", request, deadline, routing_key=key)
        return reply
    except ImageNotFoundError:
        if len(picture.data) <= INLINE_BYTES:
            request.image = picture.data
        else:
            yield from uploading(picture, deadline)
    reply = yield from calling("Segment", request, deadline, routing_key=key)
    return reply
