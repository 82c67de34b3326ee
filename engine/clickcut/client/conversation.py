"""The conversation of one session: events out, state in, and how it goes on after a break."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.client.picture import Picture
from clickcut.client.protocol import (
    INLINE_BYTES,
    Connect,
    Disconnect,
    Exchange,
    Patience,
    Talk,
    persisting,
    uploading,
)
from clickcut.client.received import check_image, mask_after
from clickcut.errors import (
    ClickcutError,
    ImageNotFoundError,
    LimitError,
    SessionNotFoundError,
    UnavailableError,
)
from clickcut.status import error_of
from clickcut.v1 import clickcut_pb2 as pb

Mask = NDArray[np.bool_]

_ATTEMPTS = 4
"""How often one event is sent at most; one that breaks every stream must not go on for ever."""

_DELTA = pb.Output(mask=pb.Output.MASK_FORMAT_RLE, changed_only=True)
_WHOLE = pb.Output(mask=pb.Output.MASK_FORMAT_RLE)
_NO_MASK = pb.Output(mask=pb.Output.MASK_FORMAT_NONE)


class Conversation:
    """Sends events, keeps the mask up to date, and remembers what a new server must be told.

    Args:
        picture: the image.
        model: its name; "" for the server's default.
        parameters: of the session's start.
        retry_seconds: for how long to try to reach a server that is gone.

    Attributes:
        mask: (H, W) bool, read-only; a new array whenever it changes.
        state: the last reply.
        image: what the server says of the image.
    """

    def __init__(
        self, picture: Picture, model: str, parameters: pb.Parameters, retry_seconds: float
    ) -> None:
        self.mask: Mask = np.zeros((0, 0), np.bool_)
        self.state = pb.SessionReply()
        self.image = pb.ImageInfo()
        self._picture = picture
        self._model = model
        self._parameters = parameters
        self._retry_seconds = retry_seconds
        self._connected = False
        self._closed = False
        self._restoring = False
        self._session_id = ""
        self._sequence = 0
        self._applied = 0
        self._unanswered: pb.SessionRequest | None = None
        self._events: list[pb.SessionRequest] = []
        self._start_parameters = pb.Parameters()
        self._start_parameters.CopyFrom(parameters)

    # ---- what a session does

    def opening(self) -> Talk[None]:
        """Open the session; wait while the server warms up."""
        return persisting(self._open_new, self._retry_seconds)

    def event(self, request: pb.SessionRequest) -> Talk[None]:
        """Apply an event.

        Raises:
            ClickcutError: it cannot be applied, or the server cannot be reached again.
        """
        yield from self._reach()
        self._sequence += 1
        request.sequence = self._sequence
        try:
            reply = yield from self._insisting(request)
        except BaseException:  # interrupted as well: nobody knows whether it was applied
            self._unanswered = request
            raise
        self._take(reply)
        self._remember(request)

    def showing(self, output: pb.Output) -> Talk[pb.SessionReply]:
        """Get the present state with an output of its own."""
        yield from self._reach()
        reply = yield from self._insisting(pb.SessionRequest(show=pb.Show(), output=output))
        self._take(reply)
        return reply

    def closing(self) -> Talk[None]:
        """Close the session; one that is lost already is none to close."""
        try:
            if self._connected:
                yield Exchange(pb.SessionRequest(close=pb.Close()))
        except ClickcutError:
            pass
        finally:
            self._connected, self._closed = False, True
        yield Disconnect()

    def interrupted(self) -> None:
        """The stream was given up while a reply was awaited."""
        self._connected = False

    # ---- sending

    def _insisting(self, request: pb.SessionRequest) -> Talk[pb.SessionReply]:
        """Send a request until it is answered, recovering the session in between."""
        for _ in range(_ATTEMPTS - 1):
            session_id = self._session_id
            try:
                return (yield from self._exchange(request))
            except (UnavailableError, SessionNotFoundError):
                yield from self._recover()
            if request.sequence and session_id != self._session_id:  # a new one counts anew
                self._sequence += 1
                request.sequence = self._sequence
        return (yield from self._exchange(request))

    def _exchange(self, request: pb.SessionRequest) -> Talk[pb.SessionReply]:
        try:
            reply: pb.SessionReply = yield Exchange(request)
        except ClickcutError:
            self._connected = False
            raise
        return reply

    def _take(self, reply: pb.SessionReply) -> None:
        """Make the state of a reply ours, or raise its error."""
        self.state = reply
        if reply.HasField("error"):
            raise error_of(reply.error.code, reply.error.message)
        self._update_mask(reply.result)

    def _remember(self, request: pb.SessionRequest) -> None:
        """Add an applied event to what a new server would be told."""
        kind = request.WhichOneof("event")
        if kind == "set_parameters":
            self._parameters.MergeFrom(request.set_parameters.parameters)
        if kind == "next_object":  # what led to the objects before matters no more
            self._events = [e for e in self._events if e.WhichOneof("event") == "next_object"]
            self._start_parameters.CopyFrom(self._parameters)
        kept = pb.SessionRequest()
        kept.CopyFrom(request)
        kept.ClearField("sequence")
        self._events.append(kept)

    def _update_mask(self, result: pb.Result) -> None:
        mask = mask_after(result, self.image, self.mask)
        if mask is None:
            return
        mask.flags.writeable = False
        self.mask = mask

    # ---- opening and recovering

    def _reach(self) -> Talk[None]:
        if self._closed:
            raise SessionNotFoundError("this session is closed; open a new one")
        if not self._connected:
            yield from self._recover()

    def _open_new(self) -> Talk[None]:
        """Open a session, sending the image only when the server lacks it."""
        opening = pb.Open(
            image_digest=self._picture.digest,
            model=self._model,
            parameters=self._start_parameters,
            output=_DELTA,
        )
        try:
            yield from self._open(opening)
            return
        except ImageNotFoundError:
            pass
        if len(self._picture.data) <= INLINE_BYTES:
            opening.image = self._picture.data
        else:
            yield from uploading(self._picture, self._retry_seconds)
        yield from self._open(opening)

    def _open(self, opening: pb.Open) -> Talk[None]:
        yield Connect()
        reply = yield from self._exchange(pb.SessionRequest(open=opening))
        check_image(reply.image)
        self._connected = True
        self._session_id, self.image = reply.session_id, reply.image
        self._applied = reply.applied_sequence
        if opening.WhichOneof("source") != "session_id":
            self._sequence = 0
        if not self._restoring:  # else it is not yet what the user has seen
            self.state = reply
            self._update_mask(reply.result)

    def _recover(self) -> Talk[None]:
        """Reach the session again, or one that is told all that was done.

        Raises:
            ClickcutError: the server cannot be reached in time, or refuses.
        """
        patience = Patience(self._retry_seconds)
        while True:
            try:
                if self._session_id:
                    yield from self._resume()
                else:
                    self._unanswered = None
                    self._restoring = True
                    yield from self._open_new()
                if self._restoring:
                    yield from self._restore()
                return
            except SessionNotFoundError:
                self._session_id = ""
            except (UnavailableError, LimitError) as error:  # down, or too busy just now
                yield from patience.wait(error)

    def _resume(self) -> Talk[None]:
        yield from self._open(pb.Open(session_id=self._session_id, output=_DELTA))
        unanswered, self._unanswered = self._unanswered, None
        if unanswered is not None and self._applied >= unanswered.sequence:
            self._remember(unanswered)

    def _restore(self) -> Talk[None]:
        """Tell a new session the events that it lacks; a long list may need several tries."""
        self._sequence = self._applied
        for event in self._events[self._sequence :]:
            request = pb.SessionRequest(sequence=self._sequence + 1, output=_NO_MASK)
            request.MergeFrom(event)
            reply = yield from self._exchange(request)
            if reply.HasField("error"):  # a server just started may be busy
                self._connected = False
                raise error_of(reply.error.code, reply.error.message)
            self._sequence += 1
        reply = yield from self._exchange(pb.SessionRequest(show=pb.Show(), output=_WHOLE))
        self._take(reply)
        self._restoring = False
