"""Errors of events that a session continues without. Each names the event."""

from __future__ import annotations

from clickcut.client.arguments import event_name
from clickcut.errors import ClickcutError, DroppedEventError, EventError
from clickcut.v1 import clickcut_pb2 as pb


def dropped(request: pb.SessionRequest) -> DroppedEventError:
    """Return the error of an event that broke the connection twice."""
    return DroppedEventError(
        f"the connection broke twice just after {event_name(request)} was sent, which may crash "
        "the server; it is not sent again, and the session continues without it"
    )


def perhaps_dropped(request: pb.SessionRequest, error: ClickcutError) -> DroppedEventError:
    """Return the error of an event that broke the connection twice to a server that is gone."""
    return DroppedEventError(
        f"the connection broke twice just after {event_name(request)} was sent, which may crash "
        f"the server, and now it cannot be reached ({error}); the event is not sent again, and the "
        "next call finds out whether it was applied"
    )


def dropped_earlier(event: pb.SessionRequest) -> DroppedEventError:
    """Return the error of a replayed event that broke the connection twice."""
    return DroppedEventError(
        f"while the session was restored, the connection broke twice just after an earlier event, "
        f"{event_name(event)}, was sent, which may crash the server; the session continues without "
        "it: make the new event again"
    )


def refused_earlier(event: pb.SessionRequest, error: EventError) -> EventError:
    """Return the error of a replayed event that the server refuses."""
    return EventError(
        f"while the session was restored, the server refused an earlier event, "
        f"{event_name(event)} ({error}); the session continues without it: make the new event again"
    )
