"""What a stream has sent of a session's state, and the replies that show the rest."""

from __future__ import annotations

import time

from clickcut import tracing
from clickcut.region import Region
from clickcut.server import replies
from clickcut.session import SessionView, Step
from clickcut.v1 import clickcut_pb2 as pb

Mark = tuple[bool, Region | None]
"""What had been sent at some moment, see `SentState.mark`."""


class SentState:
    """What was sent of the mask of one session.

    Attributes:
        output: of requests that name none.
    """

    def __init__(self) -> None:
        self.output = pb.Output()
        self._whole_sent = False
        self._unseen: Region | None = None
        """Where the mask changed since it was sent last."""

    def mark(self) -> Mark:
        """Return what `go_back` needs."""
        return self._whole_sent, self._unseen

    def go_back(self, mark: Mark) -> None:
        """Take back the replies since a mark: they were not sent."""
        self._whole_sent, self._unseen = mark

    def expect_any_change(self) -> None:
        """Send the whole mask next: it may change by events that are not shown here."""
        self._whole_sent = False

    def reply(
        self, session: SessionView, request: pb.SessionRequest, step: Step | None
    ) -> pb.SessionReply:
        """Return the reply that shows the state of a session. Runs in a thread.

        Args:
            session: not touched by another thread meanwhile.
            request: what to show is its output, or that of the stream.
            step: by which the session changed; None if it did not.
        """
        with tracing.span("encode"):
            began = time.perf_counter()
            output = request.output if request.HasField("output") else self.output
            if step is not None and step.changed is not None:
                self._unseen = self._unseen.union(step.changed) if self._unseen else step.changed
            rectangle: Region | None = replies.whole(session.image)
            if output.changed_only and self._whole_sent:
                rectangle = self._unseen
            reply = pb.SessionReply(result=replies.result(session, output, rectangle))
            replies.add_state(reply, session)
            if output.mask != pb.Output.MASK_FORMAT_NONE:
                self._whole_sent, self._unseen = True, None
            replies.add_timings(reply.timings, step)
            reply.timings.encode = 1e3 * (time.perf_counter() - began)
            return reply
