"""A click session: events on one image -> masks.

The state of a session is its list of events. Network output and mask follow from it, the same for
the same list on the same machine and bundle; states are kept only so that going back costs nothing.
An event that fails leaves everything as it was. One thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError, LimitError
from clickcut.events import (
    Click,
    Event,
    InitialMask,
    Reset,
    SetParameters,
    clicks_in_force,
    points_in_force,
    stroke_pixels,
    to_pixel,
)
from clickcut.images import PreparedImage
from clickcut.parameters import Parameters
from clickcut.pipeline import Pipeline, State, probability
from clickcut.predictor import Predictor
from clickcut.region import Region
from clickcut.selection import Selection, paint

MAX_EVENTS = 5_000
"""Events in force per object; a session that needs more has gone wrong."""

MAX_POINTS = 50_000
"""Clicked pixels in force per object; strokes count with every pixel."""

KEPT_STATES = 24
"""States before the present one that are held for undo; older ones are computed again."""

CHECKPOINTS = 32
"""Of the older states every so-maniest is held, so that no undo computes more than that."""

MAX_MASKS = 32
"""Initial masks per object, those taken back included; each holds a bit per pixel."""


@dataclass(slots=True)
class _Entry:
    """An event in force, and the state before it unless that was given up to save memory."""

    event: Event
    before: State | None


@dataclass(frozen=True, slots=True)
class Step:
    """What an event did.

    Attributes:
        changed: the rectangle in which the mask changed; None = nowhere.
        timings: milliseconds by stage, "maps", "network" and "cut"; a stage that did not run is
            absent.
    """

    changed: Region | None
    timings: dict[str, float]


class ClickSession:
    """Select objects in one image, one after the other, click by click.

    Args:
        image: shared between sessions.
        predictor: shared between sessions.
        parameters: the bundle's defaults when None.
        solver: of the graph cut, one of `clickcut.cut.SOLVERS`.

    Attributes:
        image: as given.
        mask: (H, W) bool, the selection; read-only, changes in place with each event.
        parameters: in force now.
        object_index: 0 for the first object on the image, then 1, ...
    """

    def __init__(
        self,
        image: PreparedImage,
        predictor: Predictor,
        parameters: Parameters | None = None,
        solver: str = "grid",
    ) -> None:
        self.image = image
        self.parameters = parameters or predictor.metadata.parameters
        self.object_index = 0
        self._pipeline = Pipeline(image, predictor, solver)
        self._first_parameters = self.parameters
        self._entries: list[_Entry] = []
        self._undone: list[Event] = []
        self._state = State()
        self._mask = np.zeros((image.height, image.width), np.bool_)
        self.mask = self._mask.view()
        self.mask.flags.writeable = False

    # ---- what a client does

    def click(self, x: float, y: float, positive: bool = True) -> Step:
        """Say that the pixel at (x, y), image coordinates, is object (or background).

        Raises:
            EventError: outside the image or not finite.
            LimitError: too many events or points.
        """
        point = to_pixel(x, y, self.image.width, self.image.height)
        return self._edit(Click((point,), positive))

    def stroke(self, points: NDArray[np.float64], positive: bool = True) -> Step:
        """Say that all pixels on a polyline are object (or background).

        Args:
            points: (N, 2) float64, x and y of its corners.
            positive: object, else background.

        Raises:
            EventError: see `clickcut.events.stroke_pixels`.
            LimitError: too many events or points.
        """
        pixels = stroke_pixels(points, self.image.width, self.image.height, MAX_POINTS)
        return self._edit(Click(pixels, positive))

    def start_from(self, mask: NDArray[np.bool_]) -> Step:
        """Start from an existing mask (H, W) bool, which clicks then repair. Can be undone.

        Raises:
            EventError: another shape than the image.
        """
        if mask.shape != self._mask.shape:
            raise EventError(
                f"the initial mask has shape {mask.shape}, the image {self._mask.shape}"
            )
        return self._edit(InitialMask(np.packbits(mask.astype(np.bool_))))

    def reset(self) -> Step:
        """Take away everything done for the current object. Can be undone."""
        return self._edit(Reset())

    def undo(self) -> Step:
        """Take back the last click, stroke, initial mask or reset. Parameters stay.

        Raises:
            EventError: there is nothing to undo.
        """
        at = self._last_edit()
        if at is None:
            raise EventError("there is nothing to undo")
        self._pipeline.timings = {}
        before = self._entries[at].before
        state = self._state_before(at) if before is None else before
        if at + 1 < len(self._entries):  # parameters changed since
            kept = points_in_force(self.events[:at])
            state = self._pipeline.decide(state, kept, self.parameters)
        self._undone.append(self._entries.pop(at).event)
        return self._show(state)

    def redo(self) -> Step:
        """Apply again what the last undo took back.

        Raises:
            EventError: there is nothing to redo.
        """
        if not self._undone:
            raise EventError("there is nothing to redo")
        *rest, event = self._undone
        step = self._edit(event)
        self._undone = rest
        return step

    def next_object(self) -> Step:
        """Start a new object on the same image, with no clicks. Parameters stay."""
        self._pipeline.timings = {}
        self._pipeline.reset()
        self.object_index += 1
        self._first_parameters = self.parameters
        self._entries.clear()
        self._undone.clear()
        return self._show(State())

    def set_parameters(self, **changes: float | bool) -> Step:
        """Change parameters and decide the present mask again.

        Raises:
            EventError: unknown or out of range; see `Parameters.changed`.
            LimitError: too many events.
        """
        parameters = self.parameters.changed(**changes)
        # A slider that moves must not grow the list.
        replaces = bool(self._entries) and isinstance(self._entries[-1].event, SetParameters)
        if not replaces:
            self._check_limits()
        self._pipeline.timings = {}
        event = SetParameters(parameters)
        state = self._pipeline.after(self._state, self.events, event, parameters)
        if replaces:
            self._entries.pop()
        self._entries.append(_Entry(event, None))
        self.parameters = parameters
        return self._show(state)

    # ---- what a client sees

    @property
    def events(self) -> list[Event]:
        """Events in force for the current object."""
        return [entry.event for entry in self._entries]

    @property
    def clicks(self) -> int:
        """Clicks and strokes in force."""
        return len(clicks_in_force(self.events))

    @property
    def can_undo(self) -> bool:
        """Whether `undo` has something to take back."""
        return self._last_edit() is not None

    @property
    def can_redo(self) -> bool:
        """Whether `redo` has something to apply."""
        return bool(self._undone)

    @property
    def selection(self) -> Selection:
        """The mask cut to its bounding box."""
        return self._state.selection

    @property
    def probability(self) -> tuple[Region, NDArray[np.float32]] | None:
        """The network's last output: its region and (S, S) float32 over it.

        None when it has not run since the last reset or initial mask.
        """
        if self._state.region is None or self._state.logits is None:
            return None
        return self._state.region, probability(self._state.logits)

    @property
    def nbytes(self) -> int:
        """Bytes held, the image not counted."""
        states = [e.before for e in self._entries if e.before is not None]
        return (
            sum(s.nbytes for s in (*states, self._state))
            + sum(m.packed.nbytes for m in self._masks())
            + self._mask.nbytes
            + self._pipeline.nbytes
        )

    # ---- how it is kept

    def _edit(self, event: Event) -> Step:
        self._check_limits(event)
        self._pipeline.timings = {}
        state = self._pipeline.after(self._state, self.events, event, self.parameters)
        self._entries.append(_Entry(event, self._state))
        self._undone.clear()
        old = len(self._entries) - 1 - KEPT_STATES
        if old >= 0 and old % CHECKPOINTS:
            self._entries[old].before = None
        return self._show(state)

    def _masks(self) -> list[InitialMask]:
        """Initial masks that are held, those taken back included."""
        return [e for e in (*self.events, *self._undone) if isinstance(e, InitialMask)]

    def _check_limits(self, event: Event | None = None) -> None:
        if len(self._entries) >= MAX_EVENTS:
            raise LimitError(f"an object has at most {MAX_EVENTS} events; start the next object")
        others = [mask for mask in self._masks() if mask is not event]  # redo applies a held one
        if isinstance(event, InitialMask) and len(others) >= MAX_MASKS:
            raise LimitError(
                f"an object has at most {MAX_MASKS} initial masks; go to the next object"
            )
        new_points = len(event.points) if isinstance(event, Click) else 0
        if new_points and new_points + len(points_in_force(self.events)) > MAX_POINTS:
            raise LimitError(f"an object has at most {MAX_POINTS} clicked pixels, strokes included")

    def _last_edit(self) -> int | None:
        """Index of the last event that undo takes back."""
        for at in range(len(self._entries) - 1, -1, -1):
            if not isinstance(self._entries[at].event, SetParameters):
                return at
        return None

    def _state_before(self, at: int) -> State:
        """The state before an entry, computed from the last one known; keeps those on the way."""
        events, start = self.events, at
        while start > 0 and self._entries[start].before is None:
            start -= 1
            if isinstance(events[start], Reset | InitialMask):
                break  # what was before it does not count
        state = self._entries[start].before or State()
        parameters = self._first_parameters
        for event in events[:start]:
            if isinstance(event, SetParameters):
                parameters = event.parameters
        for k in range(start, at):
            event = events[k]
            if isinstance(event, SetParameters):
                parameters = event.parameters
            elif k > start:
                self._entries[k].before = state
            state = self._pipeline.after(state, events[:k], event, parameters)
        return state

    def _show(self, state: State) -> Step:
        changed = paint(self._mask, self._state.selection, state.selection)
        self._state = state
        return Step(changed, self._pipeline.timings)
