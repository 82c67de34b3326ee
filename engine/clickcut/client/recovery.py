"""Reach a session on a server: open it, resume it, replay its events on another server."""

from __future__ import annotations

import numpy as np

from clickcut.client.dropped import dropped_earlier, refused_earlier
from clickcut.client.failures import UnreachableError
from clickcut.client.picture import Picture
from clickcut.client.protocol import (
    INLINE_BYTES,
    MAX_BREAKS,
    Connect,
    Exchange,
    Limits,
    Patience,
    Talk,
    uploading,
)
from clickcut.client.replies import (
    InvalidReplyError,
    Mask,
    check_image,
    check_reply,
    raise_error_in,
    updated_mask,
)
from clickcut.client.routing import new_routing_key
from clickcut.errors import (
    BusyError,
    ClickcutError,
    EventError,
    ImageNotFoundError,
    SessionNotFoundError,
    UnavailableError,
)
from clickcut.v1 import clickcut_pb2 as pb

MAX_ATTEMPTS = 4
"""Maximum number of times that an event is sent, restarts of the server included.
"""

_DELTA = pb.Output(mask=pb.Output.MASK_FORMAT_RLE, changed_only=True, clicks=True)
_WHOLE = pb.Output(mask=pb.Output.MASK_FORMAT_RLE, clicks=True)
_NO_MASK = pb.Output(mask=pb.Output.MASK_FORMAT_NONE)


class Recovery:
    """The state of a session, and a record of its events to restore it.

    Args:
        picture: the image.
        model: its name; "" for the server's default.
        parameters: of the session's start.
        limits: how long each of its calls may take.

    Attributes:
        mask: (H, W) bool, read-only; a new array whenever it changes.
        clicks: those in force, after the last reply without an error.
        state: the last reply.
        image: size and model, as the server reports them.
    """

    def __init__(
        self, picture: Picture, model: str, parameters: pb.Parameters, limits: Limits
    ) -> None:
        self.mask: Mask = np.zeros((0, 0), np.bool_)
        self.clicks: list[pb.PlacedClick] = []
        self.state = pb.SessionReply()
        self.image = pb.ImageInfo()
        self._picture = picture
        self._model = model
        self._limits = limits
        self._deadline = limits.start()
        self._connected = False
        self._closed = False
        self._restoring = False
        self._routing_key = new_routing_key()
        self._session_id = ""
        self._sequence = 0
        self._applied = 0
        self._unanswered: pb.SessionRequest | None = None
        self._events: list[pb.SessionRequest] = []
        self._parameters = parameters
        self._image_breaks = 0
        self._broken: tuple[pb.SessionRequest | None, int] = None, 0
        """The event whose replay broke the connection last, and how many times in a row."""

    def _exchange(self, request: pb.SessionRequest) -> Talk[pb.SessionReply]:
        try:
            reply: pb.SessionReply = yield Exchange(request, self._deadline)
            check_reply(reply, request)
        except ClickcutError:
            self._connected = False
            raise
        return reply

    def _take(self, reply: pb.SessionReply) -> None:
        """Take over the state of a reply, or raise its error."""
        try:
            self.mask = updated_mask(self.mask, reply.result, self.image)
        except InvalidReplyError:
            self._connected = False
            raise
        self.state = reply
        raise_error_in(reply)
        self.clicks = list(reply.result.clicks)

    def _remember(self, request: pb.SessionRequest) -> None:
        """Record an applied event, to replay it on a new server.

        Events of finished objects too: the client may go back to them.
        """
        kept = pb.SessionRequest()
        kept.CopyFrom(request)
        kept.ClearField("sequence")
        self._events.append(kept)

    # ---- open and recover

    def _reach(self) -> Talk[None]:
        if self._closed:
            raise SessionNotFoundError("this session is closed; open a new one")
        if not self._connected:
            yield from self._recover()

    def _open_new(self) -> Talk[None]:
        """Open a session, one that is restored with the version of its model if it is there."""
        if self._restoring and self.image.model_version:
            try:
                yield from self._open_with(f"{self.image.model}@{self.image.model_version}")
                return
            except EventError:
                if self._connected:
                    raise
        yield from self._open_with(self._model)

    def _open_with(self, model: str) -> Talk[None]:
        """Open a session with a model; send the image only if the server does not have it."""
        opening = pb.Open(
            image_digest=self._picture.digest,
            model=model,
            parameters=self._parameters,
            output=_DELTA,
            window=self._picture.window,
        )
        try:
            yield from self._open(opening)
            return
        except ImageNotFoundError:
            pass
        try:
            if len(self._picture.data) <= INLINE_BYTES:
                opening.image = self._picture.data
            else:
                yield from uploading(self._picture, self._deadline, self._routing_key)
            yield from self._open(opening)
        except UnreachableError as error:
            self._image_breaks += error.broke
            raise

    def _open(self, opening: pb.Open) -> Talk[None]:
        yield Connect(self._routing_key)
        reply = yield from self._exchange(pb.SessionRequest(open=opening))
        raise_error_in(reply)
        check_image(reply.image)
        if self.image.width and _size(reply.image) != _size(self.image):
            raise InvalidReplyError("the server opened the same image with another size")
        self._connected = True
        self._session_id, self.image = reply.session_id, reply.image
        self._applied = reply.applied_sequence
        if opening.WhichOneof("source") != "session_id":
            self._sequence = 0
        if not self._restoring:  # otherwise it is not the state before the break
            self._take(reply)

    def _recover(self) -> Talk[bool]:
        """Reach the session again, or open one and replay the events in it.

        Returns:
            Whether the unanswered event was applied.

        Raises:
            DroppedEventError: a replayed event broke the connection twice.
            EventError: the server refused a replayed event; the next call continues without it.
            ClickcutError: the server cannot be reached in time, or refuses.
        """
        patience = Patience(self._deadline)
        applied = False
        self._image_breaks = 0
        while True:
            try:
                if self._session_id:
                    applied = (yield from self._resume()) or applied
                else:
                    self._unanswered = None
                    self._restoring = True
                    yield from self._open_new()
                if self._restoring:
                    yield from self._replay()
                return applied
            except SessionNotFoundError as error:
                if not self._session_id:
                    yield from patience.wait(error)
                self._session_id = ""
            except (UnavailableError, BusyError) as error:
                if self._image_breaks >= MAX_ATTEMPTS:  # it may be what crashes the server
                    raise
                yield from patience.wait(error)

    def _resume(self) -> Talk[bool]:
        yield from self._open(pb.Open(session_id=self._session_id, output=_DELTA))
        unanswered, self._unanswered = self._unanswered, None
        applied = unanswered is not None and self._applied >= unanswered.sequence
        if unanswered is not None and applied:
            self._remember(unanswered)
        # Another client may have continued the session in the meantime.
        self._sequence = max(self._sequence, self._applied)
        return applied

    def _replay(self) -> Talk[None]:
        """Apply the events that a new session lacks; a long list may take several attempts.

        An event that the server refuses, or that breaks the connection twice, is removed
        from the list, so that the session can continue without it.
        """
        if self._applied > len(self._events):
            self._session_id = ""
            raise InvalidReplyError("the server has applied more events than were sent")
        self._sequence = self._applied
        while self._sequence < len(self._events):
            event = self._events[self._sequence]
            if self._breaks_of(event) >= MAX_BREAKS:
                self._forget(event)
                raise dropped_earlier(event)
            request = pb.SessionRequest(sequence=self._sequence + 1, output=_NO_MASK)
            request.MergeFrom(event)
            try:
                reply = yield from self._exchange(request)
                raise_error_in(reply)
            except UnreachableError as error:
                if error.broke:
                    self._broken = event, self._breaks_of(event) + 1
                raise
            except EventError as error:
                self._forget(event)
                raise refused_earlier(event, error) from error
            except ClickcutError:  # a server that has just started may be busy
                self._connected = False
                raise
            self._sequence += 1
        reply = yield from self._exchange(pb.SessionRequest(show=pb.Show(), output=_WHOLE))
        self._take(reply)
        self._restoring = False

    def _breaks_of(self, event: pb.SessionRequest) -> int:
        broken, breaks = self._broken
        return breaks if broken is event else 0

    def _forget(self, event: pb.SessionRequest) -> None:
        self._connected = False
        self._events = [e for e in self._events if e is not event]


def _size(image: pb.ImageInfo) -> tuple[int, int]:
    return image.width, image.height
