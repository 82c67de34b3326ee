"""What a session was before an event, to go back to if the event cannot be kept."""

from __future__ import annotations

from dataclasses import dataclass

from clickcut.session.events import Event
from clickcut.session.history import Entry, History
from clickcut.session.objects import FinishedObject
from clickcut.session.state import State


@dataclass(frozen=True, slots=True)
class Events:
    """The events of an object, copied.

    Attributes:
        history: that they belong to.
        entries: in force.
        undone: that can be redone.
    """

    history: History
    entries: tuple[Entry, ...]
    undone: tuple[Event, ...]

    @staticmethod
    def of(history: History) -> Events:
        """Copy the events of an object."""
        return Events(history, tuple(history.entries), tuple(history.undone))

    def put_back(self) -> None:
        """Give the object these events again."""
        self.history.entries[:] = self.entries
        self.history.undone[:] = self.undone


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session at one moment, a few references; see `SessionView.snapshot`.

    Attributes:
        object_index: of the current object.
        objects: finished ones; None for the current one.
        state: of the current object.
        current: events of the current object.
        finished: events of the others; an event may change those as well.
    """

    object_index: int
    objects: tuple[FinishedObject | None, ...]
    state: State
    current: Events
    finished: tuple[Events, ...]
