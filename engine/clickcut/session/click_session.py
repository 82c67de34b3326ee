"""A click session: events on one image -> masks.

The state of a session is its list of events. Network output and mask follow from it, the same for
the same list on the same machine and bundle; states are stored only to make undo fast.
An event that fails changes nothing. Not thread-safe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clickcut.backends import Predictor
from clickcut.clicks import PlacedClick, Point, checked_index
from clickcut.errors import EventError
from clickcut.images import PreparedImage
from clickcut.parameters import Parameters
from clickcut.region import Region
from clickcut.selection import EMPTY, SelectedObject, Selection, paint, union
from clickcut.session.coordinates import stroke_pixels, to_box, to_pixel
from clickcut.session.events import (
    BoxPrompt,
    Click,
    Event,
    Exclude,
    InitialMask,
    MoveClick,
    Prompts,
    RemoveClick,
    Reset,
    SetParameters,
)
from clickcut.session.history import MAX_POINTS, History
from clickcut.session.objects import FinishedObject, check_room
from clickcut.session.pipeline import Pipeline
from clickcut.session.snapshot import Events, Snapshot
from clickcut.session.state import Computed, State, probability, total


@dataclass(frozen=True, slots=True)
class Step:
    """The effect of an event.

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
        parameters: in force.
        object_index: of the current object; 0 for the first one on the image.
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
        self._history = History(self._pipeline, self.parameters)
        self._objects: list[FinishedObject | None] = [None]  # None: the current one
        self._state = State()
        self._mask = np.zeros((image.height, image.width), np.bool_)
        self.mask = self._mask.view()
        self.mask.flags.writeable = False

    # ---- events

    def click(self, x: float, y: float, positive: bool = True) -> Step:
        """Mark the pixel at (x, y), image coordinates, as object (or background).

        Raises:
            EventError: outside the image or not finite, or positive on an excluded pixel.
            LimitError: too many events or points.
        """
        point = to_pixel(x, y, self.image.width, self.image.height)
        return self._edit(Click.of([point], positive))

    def stroke(self, points: ArrayLike, positive: bool = True) -> Step:
        """Mark all pixels on a polyline as object, or as background if not `positive`.

        Args:
            points: (N, 2), x and y of its corners.
            positive: object, else background.

        Raises:
            EventError: see `clickcut.session.coordinates.stroke_pixels`.
            LimitError: too many events or points.
        """
        try:
            corners = np.asarray(points, np.float64)
        except (TypeError, ValueError) as error:
            raise EventError(f"a stroke is an (N, 2) array of x, y: {error}") from error
        pixels = stroke_pixels(corners, self.image.width, self.image.height, MAX_POINTS)
        return self._edit(Click.of(pixels, positive))

    def move_click(self, index: int, x: float, y: float) -> Step:
        """Move a click to another pixel, as if it had been made there. Can be undone.

        Args:
            index: among `clicks`.
            x: column, image coordinates.
            y: row.

        Raises:
            EventError: there is no such click, it is a stroke, or (x, y) is outside the image.
            LimitError: too many events.
        """
        point = to_pixel(x, y, self.image.width, self.image.height)
        return self._edit(MoveClick(checked_index(index, "a click"), point))

    def remove_click(self, index: int) -> Step:
        """Remove a click or stroke, as if it had not been made. Can be undone.

        Args:
            index: among `clicks`; the indices of later ones decrease by one.

        Raises:
            EventError: there is no such click.
            LimitError: too many events.
        """
        return self._edit(RemoveClick(checked_index(index, "a click")))

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Step:
        """Set the box around the object; it replaces an earlier box. Can be undone.

        It counts as drawn before all clicks.

        Args:
            x0: its left edge, image coordinates; pixels whose centres lie in the box belong to it.
            y0: its upper edge.
            x1: its right edge.
            y1: its lower edge.

        Raises:
            EventError: outside the image, not finite, inverted, or without pixels.
            LimitError: too many events.
        """
        return self._edit(BoxPrompt(to_box(x0, y0, x1, y1, self.image.width, self.image.height)))

    def start_from(self, mask: NDArray[np.bool_]) -> Step:
        """Start from an initial mask (H, W) bool, which clicks then correct. Can be undone.

        Raises:
            EventError: another shape than the image.
        """
        if mask.shape != self._mask.shape:
            raise EventError(
                f"the initial mask has shape {mask.shape}, the image {self._mask.shape}"
            )
        return self._edit(InitialMask(np.packbits(mask.astype(np.bool_))))

    def reset(self) -> Step:
        """Remove all clicks, box and initial mask of the current object. Can be undone."""
        return self._edit(Reset())

    def undo(self) -> Step:
        """Undo the last click, stroke, change of a click, box, initial mask or reset.

        Parameters are unchanged.

        Raises:
            EventError: there is nothing to undo.
        """
        return self._take_over(self._history.undo(self.parameters))

    def redo(self) -> Step:
        """Redo what the last undo took back.

        Raises:
            EventError: there is nothing to redo.
        """
        if not self._history.undone:
            raise EventError("there is nothing to redo")
        *rest, event = self._history.undone
        step = self._apply(event)
        self._history.undone = rest
        return step

    def next_object(self, exclude_finished: bool = False) -> Step:
        """Start a new object on the same image, with no clicks and the same parameters.

        Args:
            exclude_finished: the new object never takes pixels that now belong to other objects.

        Raises:
            LimitError: too many objects, or they take too much memory.
        """
        check_room([held for held in self._objects if held is not None])
        self._store_object()
        self.object_index = len(self._objects)
        self._objects.append(None)
        self._history = History(self._pipeline, self.parameters)
        excluded = self._others() if exclude_finished else EMPTY
        if excluded.box is not None:
            self._history.add(Exclude(excluded), None)
        return self._take_over(Computed(State(), {}))

    def edit_object(self, index: int, exclude_finished: bool = False) -> Step:
        """Edit an earlier object again, with its clicks, parameters, undo and redo.

        Args:
            index: its `object_index`.
            exclude_finished: from now on the object never takes pixels that now belong to other
                objects; else its earlier exclusion stays.

        Raises:
            EventError: there is no such object.
            LimitError: it has too many events.
        """
        index = checked_index(index, "an object")
        if index >= len(self._objects):
            raise EventError(
                f"there is no object {index}: the session has objects 0 to {len(self._objects) - 1}"
            )
        target = self._objects[index]
        history = self._history if target is None else target.history
        parameters = history.parameters
        excluded = self._others(index) if exclude_finished else EMPTY
        event = None
        if exclude_finished and not excluded.equals(Prompts.of(history.events).excluded):
            history.check_limits()
            event = Exclude(excluded)
        computed = Computed(self._state, {}) if target is None else history.present()
        state, timings = computed
        if event is not None:
            decided = history.apply(state, event, parameters)
            computed = Computed(decided.state, total(timings, decided.timings))
        if target is not None:
            self._store_object()
            self._objects[index] = None
            self.object_index = index
            self._history = history
            self.parameters = parameters
        if event is not None:
            history.add(event, None)
        return self._take_over(computed)

    def set_parameters(self, **changes: float | bool) -> Step:
        """Change parameters and recompute the current mask.

        Raises:
            EventError: unknown or out of range; see `Parameters.changed`.
            LimitError: too many events.
        """
        history = self._history
        parameters = self.parameters.changed(**changes)
        # A moving slider must not grow the list.
        replaces = bool(history.entries) and isinstance(history.entries[-1].event, SetParameters)
        if not replaces:
            history.check_limits()
        event = SetParameters(parameters)
        computed = history.apply(self._state, event, parameters)
        if replaces:
            history.entries.pop()
        history.add(event, None)
        self.parameters = parameters
        return self._take_over(computed)

    # ---- state

    @property
    def events(self) -> list[Event]:
        """Events in force for the current object."""
        return self._history.events

    def events_of(self, index: int) -> list[Event]:
        """Return the events in force for an object, the current one or another, by its index."""
        held = self._objects[index]
        return self.events if held is None else held.history.events

    @property
    def clicks(self) -> list[PlacedClick]:
        """Clicks and strokes in force, in the order made."""
        return [click.placed for click in Prompts.of(self.events).clicks]

    @property
    def num_clicks(self) -> int:
        """Number of clicks and strokes in force."""
        return len(Prompts.of(self.events).clicks)

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._history.last_edit is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._history.undone)

    @property
    def num_objects(self) -> int:
        """Number of objects on the image, the current one included."""
        return len(self._objects)

    def objects(self) -> list[SelectedObject]:
        """Return all objects on the image, the current one included, by index."""
        return [
            SelectedObject(
                index,
                self._state.selection if held is None else held.selection,
                self.num_clicks if held is None else held.num_clicks,
            )
            for index, held in enumerate(self._objects)
        ]

    @property
    def selection(self) -> Selection:
        """The mask cropped to its bounding box."""
        return self._state.selection

    @property
    def probability(self) -> tuple[Region, NDArray[np.float32]] | None:
        """The network's last output: its region and (S, S) float32 over it.

        None if it has not run since the last reset or initial mask.
        """
        output = self._state.output
        return None if output is None else (output[0], probability(output[1]))

    @property
    def nbytes(self) -> int:
        """Memory of all objects in bytes: masks, states, events, warm cut; without the image."""
        return (
            self._mask.nbytes
            + self._state.nbytes
            + self._history.nbytes
            + self._pipeline.nbytes
            + sum(held.nbytes for held in self._objects if held is not None)
        )

    def cool(self) -> None:
        """Free memory that only makes the next event faster. Changes no result."""
        self._pipeline.cool()

    # ---- going back

    def snapshot(self) -> Snapshot:
        """Return what `go_back` needs to make the session what it is now."""
        held = [found.history for found in self._objects if found is not None]
        return Snapshot(
            self.parameters,
            self.object_index,
            tuple(self._objects),
            self._state,
            Events.of(self._history),
            tuple(Events.of(history) for history in held),
        )

    def go_back(self, snapshot: Snapshot) -> None:
        """Make the session what it was at a snapshot, as if no event had followed."""
        for events in (snapshot.current, *snapshot.finished):
            events.put_back()
        self.parameters = snapshot.parameters
        self.object_index = snapshot.object_index
        self._objects = list(snapshot.objects)
        self._history = snapshot.current.history
        self._take_over(Computed(snapshot.state, {}))

    # ---- applying events

    def _edit(self, event: Event) -> Step:
        self._check_excluded(event)
        return self._apply(event)

    def _apply(self, event: Event) -> Step:
        self._history.check_limits(event)
        computed = self._history.apply(self._state, event, self.parameters)
        self._history.add(event, self._state)
        self._history.undone.clear()
        return self._take_over(computed)

    def _check_excluded(self, event: Event) -> None:
        """Check that a positive click is not on an excluded pixel."""
        prompts = Prompts.of(self.events)
        if prompts.excluded.box is None:
            return
        points: list[Point] = []
        if isinstance(event, Click) and event.positive:
            points = event.points
        elif isinstance(event, MoveClick) and event.index < len(prompts.clicks):
            points = [event.point] if prompts.clicks[event.index].positive else []
        if points and all(prompts.excluded.contains(*point) for point in points):
            raise EventError(
                "the click lies on another object, whose pixels are excluded: click elsewhere, or "
                "edit that object first"
            )

    def _store_object(self) -> None:
        """Move the current object to the finished ones."""
        self._history.drop_states()
        self._objects[self.object_index] = FinishedObject(
            self._history, self._state.selection, self.num_clicks
        )
        self._pipeline.reset()

    def _others(self, index: int | None = None) -> Selection:
        """Return the pixels of all objects except one; None: except the current one."""
        left_out = self.object_index if index is None else index
        others = (o.selection for o in self.objects() if o.index != left_out)
        return union(others, self.image.width, self.image.height)

    def _take_over(self, computed: Computed) -> Step:
        """Make a computed state the current one and update the mask."""
        changed = paint(self._mask, self._state.selection, computed.state.selection)
        self._state = computed.state
        return Step(changed, computed.timings)
