"""The conversation of one session: send events and requests, recovering it after a break."""

from __future__ import annotations

from clickcut.client.dropped import dropped, perhaps_dropped
from clickcut.client.failures import broke
from clickcut.client.protocol import (
    CLOSE_SECONDS,
    MAX_BREAKS,
    Disconnect,
    Exchange,
    Patience,
    Talk,
    persisting,
)
from clickcut.client.recovery import MAX_ATTEMPTS, Recovery
from clickcut.client.replies import (
    InvalidReplyError,
    error_in,
)
from clickcut.errors import (
    ClickcutError,
    SessionNotFoundError,
    UnavailableError,
)
from clickcut.v1 import clickcut_pb2 as pb


class Conversation(Recovery):
    """Sends the events of a session and keeps its state up to date; see `Recovery`."""

    def opening(self) -> Talk[None]:
        """Open the session; wait while the server is busy or warms up."""
        self._deadline = self._limits.start()
        return (yield from persisting(self._open_new, self._deadline))

    def event(self, request: pb.SessionRequest) -> Talk[None]:
        """Apply an event.

        Raises:
            DroppedEventError: it, or an earlier event that had to be replayed, broke the
                connection twice; the message says which, and whether the session is without it.
            ClickcutError: it cannot be applied, or the server cannot be reached again.
        """
        self._deadline = self._limits.start()
        yield from self._reach()
        self._count(request)
        reply = yield from self._deliver(request)
        if reply is None:  # applied, according to the resumed session
            return
        if reply.HasField("error") and reply.applied_sequence == request.sequence:
            self._remember(request)  # only its result could not be encoded
        try:
            self._take(reply)
        except InvalidReplyError:
            self._unanswered = request
            raise
        self._remember(request)

    def showing(self, output: pb.Output) -> Talk[pb.SessionReply]:
        """Get the current state with a given output."""
        self._deadline = self._limits.start()
        yield from self._reach()
        request = pb.SessionRequest(show=pb.Show(), output=output)
        reply = yield from self._deliver(request)
        if reply is None:  # impossible: it has no sequence
            raise InvalidReplyError("the server applied a request that changes nothing")
        self._take(reply)
        return reply

    def closing(self) -> Talk[None]:
        """Close the session, unless it is lost already."""
        try:
            if self._connected:
                deadline = self._limits.start(CLOSE_SECONDS)
                yield Exchange(pb.SessionRequest(close=pb.Close()), deadline)
        except ClickcutError:
            pass
        finally:
            self._connected, self._closed = False, True
        yield Disconnect()

    def interrupted(self) -> None:
        """Note that the stream was closed while a reply was awaited."""
        self._connected = False

    # ---- sending

    def _count(self, request: pb.SessionRequest) -> None:
        self._sequence += 1
        request.sequence = self._sequence

    def _deliver(self, request: pb.SessionRequest) -> Talk[pb.SessionReply | None]:
        """Send an event until it is answered, recovering the session in between.

        Returns:
            The reply; None if the resumed session contains the event already.
        """
        breaks = attempts = 0
        busy = Patience(self._deadline)
        while True:
            session_id = self._session_id
            if request.sequence:
                self._unanswered = request  # until the reply is here, it may have been applied
            try:
                reply = yield from self._exchange(request)
            except (UnavailableError, SessionNotFoundError) as error:
                attempts += 1
                if attempts == MAX_ATTEMPTS:
                    raise
                breaks += broke(error)
                if (yield from self._recover_after(request, breaks, error)):
                    return None
            else:
                self._unanswered = None
                if not reply.error.retry:
                    return reply
                yield from busy.wait(error_in(reply))
            if request.sequence and session_id != self._session_id:
                self._count(request)  # a new session counts from 1

    def _recover_after(
        self, request: pb.SessionRequest, breaks: int, error: ClickcutError
    ) -> Talk[bool]:
        """Recover from a break; return whether the session contains the event.

        Args:
            request: that was sent.
            breaks: of the connection, after it was sent.
            error: of the last one.
        """
        may_send_again = breaks < MAX_BREAKS
        try:
            applied = yield from self._recover()
        except UnavailableError as unreachable:
            if may_send_again or not request.sequence:
                raise
            raise perhaps_dropped(request, unreachable) from error
        if may_send_again or applied:
            return applied
        if not request.sequence:  # it changes nothing
            raise error
        raise dropped(request) from error
