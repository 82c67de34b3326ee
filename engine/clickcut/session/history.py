"""The events of one object, and stored states between them.

A state follows from the events before it, so any of them may be dropped: undo then recomputes it
from the last stored one.
"""

from __future__ import annotations

from dataclasses import dataclass

from clickcut.errors import EventError, LimitError
from clickcut.parameters import Parameters
from clickcut.session.events import (
    BoxPrompt,
    Click,
    Event,
    Exclude,
    InitialMask,
    MoveClick,
    Prompts,
    PromptsBuilder,
    RemoveClick,
    Reset,
    SetParameters,
)
from clickcut.session.pipeline import MAX_REPLAYED, Pipeline
from clickcut.session.state import Computed, State, total

MAX_EVENTS = 5_000
"""Maximum number of events of an object."""

MAX_POINTS = 50_000
"""Maximum number of clicked pixels in force per object, strokes included."""

MAX_HELD_POINTS = 200_000
"""Maximum number of clicked pixels held per object, those reset or undone included."""

MAX_MASKS = 32
"""Maximum number of initial masks per object, undone ones included; each takes a bit per pixel."""

UNDO_BYTES = 7 * 2**18
"""Maximum size of the states stored for undo, bytes; the latest are kept: two of the packaged
models, refined."""

CHECKPOINTS = 32
"""Every 32nd of the dropped states is kept, so no undo recomputes more than that."""


@dataclass(slots=True)
class Entry:
    """An event, and the state before it unless that was dropped to save memory."""

    event: Event
    before: State | None


class History:
    """Events of one object, those that can be redone, and states.

    Args:
        pipeline: computes states.
        parameters: in force before the first event.

    Attributes:
        entries: events in force, in order.
        undone: events that `redo` applies, the next one last.
    """

    def __init__(self, pipeline: Pipeline, parameters: Parameters) -> None:
        self.entries: list[Entry] = []
        self.undone: list[Event] = []
        self._pipeline = pipeline
        self._first_parameters = parameters

    @property
    def events(self) -> list[Event]:
        """Events in force."""
        return [entry.event for entry in self.entries]

    @property
    def parameters(self) -> Parameters:
        """Parameters in force after all events."""
        for entry in reversed(self.entries):
            if isinstance(entry.event, SetParameters):
                return entry.event.parameters
        return self._first_parameters

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        states = (e.before for e in self.entries if e.before is not None)
        events = (*self.events, *self.undone)
        return sum(s.nbytes for s in states) + sum(e.nbytes for e in events)

    @property
    def last_edit(self) -> int | None:
        """Index of the last event that can be undone."""
        for at in range(len(self.entries) - 1, -1, -1):
            if not isinstance(self.entries[at].event, SetParameters | Exclude):
                return at
        return None

    def add(self, event: Event, before: State | None) -> None:
        """Add an event; drop states that take too much memory."""
        if self._replaces_last(event):
            self.entries.pop()
        self.entries.append(Entry(event, before))
        held = 0
        for at in range(len(self.entries) - 1, -1, -1):
            entry = self.entries[at]
            held += 0 if entry.before is None else entry.before.nbytes
            if held > UNDO_BYTES and at % CHECKPOINTS:
                entry.before = None

    def check_limits(self, event: Event) -> None:
        """Check that one more event is allowed.

        Args:
            event: the new one; on redo it is held already and not counted twice.

        Raises:
            LimitError: it is not.
        """
        if len(self.entries) >= MAX_EVENTS and not self._replaces_last(event):
            raise LimitError(f"an object has at most {MAX_EVENTS} events; start the next object")
        held = [e for e in (*self.events, *self.undone) if e is not event]
        masks = sum(isinstance(e, InitialMask) for e in held)
        if isinstance(event, InitialMask) and masks >= MAX_MASKS:
            raise LimitError(
                f"an object has at most {MAX_MASKS} initial masks; start the next object"
            )
        if not isinstance(event, Click):
            return
        if event.num_points + len(Prompts.of(self.events).points) > MAX_POINTS:
            raise LimitError(f"an object has at most {MAX_POINTS} clicked pixels, strokes included")
        if event.num_points + sum(e.num_points for e in held if isinstance(e, Click)) > (
            MAX_HELD_POINTS
        ):
            raise LimitError(
                f"an object holds at most {MAX_HELD_POINTS} clicked pixels, those reset or undone "
                "included; start the next object"
            )

    def apply(self, state: State, event: Event) -> Computed:
        """Return the state after one more event; changes nothing.

        Raises:
            EventError: see `Pipeline.after`.
        """
        events = self.events
        parameters = event.parameters if isinstance(event, SetParameters) else self.parameters
        known = 0, State()
        if isinstance(event, BoxPrompt | MoveClick | RemoveClick):
            known = self._known(Prompts.of([*events, event]), parameters)
        return self._pipeline.after(state, events, event, parameters, known)

    def undo(self) -> Computed:
        """Undo the last event and return the state without it. Parameters are unchanged.

        Raises:
            EventError: there is none.
        """
        at = self.last_edit
        if at is None:
            raise EventError("there is nothing to undo")
        before = self.entries[at].before
        computed = self._before(at) if before is None else Computed(before, {})
        if at + 1 < len(self.entries):  # parameters or excluded pixels changed since
            events = self.events
            prompts = Prompts.of(events[:at] + events[at + 1 :])
            decided = self._pipeline.decide(computed.state, prompts, self.parameters)
            computed = Computed(decided.state, total(computed.timings, decided.timings))
        self.undone.append(self.entries.pop(at).event)
        return computed

    def drop_states(self) -> None:
        """Drop all states except checkpoints: the object is not edited at present."""
        for at, entry in enumerate(self.entries):
            if at % CHECKPOINTS:
                entry.before = None

    def present(self) -> Computed:
        """Return the state after all events, recomputed."""
        return self._before(len(self.entries))

    def _replaces_last(self, event: Event) -> bool:
        """Return whether an event takes the place of the last one: sliders send many in a row."""
        last = self.entries[-1].event if self.entries else None
        return isinstance(event, SetParameters) and isinstance(last, SetParameters)

    def _before(self, at: int) -> Computed:
        """Return the state before an entry, computed from the last stored one; store those between.

        `at` may be the number of entries: the state after all of them.
        """
        events, start = self.events, at
        while start > 0 and (start == len(events) or self.entries[start].before is None):
            start -= 1
            if isinstance(events[start], Reset | InitialMask | BoxPrompt | MoveClick | RemoveClick):
                break  # its state follows from the prompts alone
        state = (self.entries[start].before if start < len(events) else None) or State()
        parameters = self._first_parameters
        for event in events[:start]:
            if isinstance(event, SetParameters):
                parameters = event.parameters
        timings: dict[str, float] = {}
        for k in range(start, at):
            event = events[k]
            if isinstance(event, SetParameters):
                parameters = event.parameters
            elif k > start and not isinstance(event, Exclude):
                self.entries[k].before = state
            state, spent = self._pipeline.after(state, events[:k], event, parameters)
            timings = total(timings, spent)
        return Computed(state, timings)

    def _known(self, prompts: Prompts, parameters: Parameters) -> tuple[int, State]:
        """Return a stored state that follows from the first clicks of `prompts`, made one by one.

        Returns:
            The number of clicks, and the state; 0 and an empty one if there is none.
        """
        found = 0, State()
        if len(prompts.clicks) > MAX_REPLAYED:
            return found
        then = self._first_parameters
        builder = PromptsBuilder()
        same = True  # whether the state follows from the prompts and the present parameters alone
        for entry in self.entries:
            count = len(builder.clicks)
            if (
                entry.before is not None
                and same
                and then == parameters
                and found[0] < count <= len(prompts.clicks)
                and builder.start is prompts.start
                and builder.box == prompts.box
                and builder.excluded is prompts.excluded
                and builder.clicks == list(prompts.clicks[:count])
            ):
                found = count, entry.before
            prompted = count > 0 or builder.box is not None
            builder.add(entry.event)
            if isinstance(entry.event, SetParameters):
                then = entry.event.parameters
            elif isinstance(entry.event, Reset | InitialMask):
                same = True
            elif isinstance(entry.event, BoxPrompt | MoveClick | RemoveClick):
                same = then == parameters
            elif isinstance(entry.event, Exclude):
                same = same and not prompted
            else:
                same = same and then == parameters
        return found
