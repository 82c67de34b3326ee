"""A click session: events on one image -> masks.

The state of a session is its list of events. Network output and mask follow from it, the same for
the same list on the same machine and bundle; states are stored only to make undo fast.
An event that fails changes nothing. Not thread-safe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clickcut.clicks import checked_index
from clickcut.errors import EventError
from clickcut.selection import paint, union
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
from clickcut.session.snapshot import Snapshot
from clickcut.session.state import Computed, State, Step, total
from clickcut.session.view import SessionView


class ClickSession(SessionView):
    """Select objects in one image, one after the other, click by click.

    Its arguments and attributes are those of `SessionView`, and so is what can be asked about it.
    """

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
        pixels = stroke_pixels(points, self.image.width, self.image.height, MAX_POINTS)
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
        return self._take_over(self._history.undo())

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
        if exclude_finished and (exclude := self._new_exclusion(self._history, self.object_index)):
            self._history.add(exclude, None)
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
        exclude = self._new_exclusion(history, index) if exclude_finished else None
        if exclude is not None:
            history.check_limits(exclude)
        computed = Computed(self._state, {}) if target is None else history.present()
        if exclude is not None:
            decided = history.apply(computed.state, exclude)
            computed = Computed(decided.state, total(computed.timings, decided.timings))
        if target is not None:
            self._store_object()
            self._objects[index] = None
            self.object_index = index
            self._history = history
        if exclude is not None:
            history.add(exclude, None)
        return self._take_over(computed)

    def set_parameters(self, **changes: float | bool) -> Step:
        """Change parameters and recompute the current mask.

        Raises:
            EventError: unknown or out of range; see `Parameters.changed`.
            LimitError: too many events.
        """
        event = SetParameters(self.parameters.changed(**changes))
        self._history.check_limits(event)
        computed = self._history.apply(self._state, event)
        self._history.add(event, None)
        return self._take_over(computed)

    # ---- memory, and going back

    def cool(self) -> None:
        """Free memory that only makes the next event faster. Changes no result."""
        self._pipeline.cool()

    def go_back(self, snapshot: Snapshot) -> None:
        """Make the session what it was at a snapshot, as if no event had followed."""
        for events in (snapshot.current, *snapshot.finished):
            events.put_back()
        self.object_index = snapshot.object_index
        self._objects = list(snapshot.objects)
        self._history = snapshot.current.history
        self._take_over(Computed(snapshot.state, {}))

    # ---- applying events

    def _edit(self, event: Event) -> Step:
        Prompts.of(self.events).check_excluded(event)
        return self._apply(event)

    def _apply(self, event: Event) -> Step:
        self._history.check_limits(event)
        computed = self._history.apply(self._state, event)
        self._history.add(event, self._state)
        self._history.undone.clear()
        return self._take_over(computed)

    def _store_object(self) -> None:
        """Move the current object to the finished ones."""
        self._history.drop_states()
        self._objects[self.object_index] = FinishedObject(
            self._history, self._state.selection, self.num_clicks
        )
        self._pipeline.reset()

    def _new_exclusion(self, history: History, index: int) -> Exclude | None:
        """Return the event that excludes all other objects from one; None if they are already."""
        others = (found.selection for found in self.objects() if found.index != index)
        pixels = union(others, self.image.width, self.image.height)
        return None if pixels.equals(Prompts.of(history.events).excluded) else Exclude(pixels)

    def _take_over(self, computed: Computed) -> Step:
        """Make a computed state the current one and update the mask."""
        changed = paint(self._mask, self._state.selection, computed.state.selection)
        self._state = computed.state
        return Step(changed, computed.timings)
