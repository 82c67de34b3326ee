"""Clicks of a person become events of the engine, its masks become labels.

All of it runs in the window's thread and never waits: events go to the engine's thread, and a
result is shown when it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from operator import methodcaller
from typing import Any

from clickcut.errors import ClickcutError, EventError
from clickcut_napari.engine_thread import EngineThread, Result
from clickcut_napari.layers import MAX_LABEL, PlaneClick, SelectionLayers
from clickcut_napari.look import Look
from clickcut_napari.objects import Event, PlaneObject, events_between
from clickcut_napari.plane import Plane

DRAG_PIXELS = 5
"""A press that moves farther on the screen drags the picture and is no click."""


class Selector:
    """Selects objects in an image layer of a viewer.

    Args:
        viewer: of napari.
        engine: where events go.
        report: called with a message for people; "" when all is well.
        changed: called when what can be done has changed.
        answered: called when the engine has answered.

    Attributes:
        image: the layer; None before one is chosen.
        layers: clicks and labels of it.
        busy: events that are not answered yet.
    """

    def __init__(
        self,
        viewer: Any,
        engine: EngineThread,
        report: Callable[[str], None],
        changed: Callable[[], None],
        answered: Callable[[], None],
    ) -> None:
        self._viewer = viewer
        self._engine = engine
        self._report = report
        self._changed = changed
        self._answered = answered
        self._objects: dict[Hashable, PlaneObject] = {}
        self._dragging = False
        self.image: Any = None
        self.layers: SelectionLayers | None = None
        self.busy = 0

    # ---- the image

    def choose(self, image: Any) -> None:
        """Select in another image layer, with layers of its own; None for none."""
        if image is self.image:
            return
        self.release()
        if image is None:
            return
        try:
            Plane.shown(self._viewer, image)
        except EventError as error:
            self._report(str(error))
            return
        self.image = image  # first: the dock hears of the new layers
        try:
            self.layers = SelectionLayers(self._viewer, image)
        except MemoryError:
            self.image = None
            self._report(f"there is no memory for labels of the size of {image.name!r}; crop it")
            return
        clicks = self.layers.clicks
        clicks.mouse_drag_callbacks.append(self._pressed)
        clicks.events.data.connect(self._edited)
        clicks.bind_key("Control-Z", lambda _: self.undo(), overwrite=True)
        clicks.bind_key("Control-Shift-Z", lambda _: self.redo(), overwrite=True)
        clicks.bind_key("N", lambda _: self.next_object(), overwrite=True)
        self.activate()
        self._report("")
        self._changed()

    def release(self) -> None:
        """Select in no image; the layers stay as they are."""
        if self.layers is not None:
            clicks = self.layers.clicks
            if self._pressed in clicks.mouse_drag_callbacks:
                clicks.mouse_drag_callbacks.remove(self._pressed)
            clicks.events.data.disconnect(self._edited)
        self.image = self.layers = None
        self._objects.clear()
        self._engine.submit(lambda engine: engine.forget(), lambda _: None, self._say)
        self._changed()

    def activate(self) -> None:
        """Make the clicks the active layer, so that it gets the mouse."""
        if self.layers is not None:
            self._viewer.layers.selection.active = self.layers.clicks

    # ---- what a person does

    def click(self, position: Any, positive: bool) -> None:
        """Click at a position in the world."""
        with _reporting(self._report):
            plane = self._plane()
            self._click_at(plane, (*plane.pixel(position), positive))

    def undo(self) -> None:
        """Undo the last event on the plane shown."""
        self._step("can_undo", methodcaller("undo"), "there is nothing to undo")

    def redo(self) -> None:
        """Redo what was undone last on the plane shown."""
        self._step("can_redo", methodcaller("redo"), "there is nothing to redo")

    def reset(self) -> None:
        """Remove all clicks of the object on the plane shown."""
        self._step("clicks", methodcaller("reset"), "there are no clicks to remove")

    def next_object(self) -> None:
        """Begin another object, with the next free label."""
        with _reporting(self._report):
            plane = self._plane()
            assert self.layers is not None
            selection = self.layers.selection
            highest = max(self.layers.highest_label(plane), int(selection.selected_label))
            if highest >= MAX_LABEL:
                raise EventError(f"there are {MAX_LABEL} objects; go on in another labels layer")
            self._objects.pop(plane.key, None)
            key = plane.key
            self._engine.submit(lambda e: e.next_object(key), lambda _: None, self._say)
            selection.selected_label = highest + 1
            self._show_points()
            self._report("")
            self._changed()

    def can(self, what: str) -> bool:
        """Whether `can_undo`, `can_redo` or `clicks` holds on the plane shown."""
        try:
            found = self._objects.get(self._plane().key)
        except EventError:
            return False
        return found is not None and bool(getattr(found, what))

    # ---- events of the clicks layer

    def _pressed(self, layer: Any, event: Any) -> Iterator[None]:
        if layer.mode == "select":  # napari moves points: one event for the whole way
            self._dragging = True
            yield
            while event.type == "mouse_move":
                yield
            self._dragging = False
            self._follow_points()
            return
        if layer.mode != "pan_zoom" or event.button != 1:
            return
        start, moved = event.pos, 0.0
        position = event.position
        yield
        while event.type == "mouse_move":
            moved = max(moved, *(abs(float(d)) for d in event.pos - start))
            yield
        if moved <= DRAG_PIXELS:
            self.click(position, "Control" not in event.modifiers)

    def _edited(self, event: Any) -> None:
        """A person has added, moved or removed points with napari's own tools."""
        if self.layers is None or self.layers.is_changing or self._dragging:
            return
        if str(event.action) in ("added", "removed", "changed"):
            self._follow_points()

    def _follow_points(self) -> None:
        try:
            with _reporting(self._report):
                self._follow(self._plane())
        finally:
            self._show_points()

    def _follow(self, plane: Plane) -> None:
        """Bring the session to the points that are there now."""
        assert self.layers is not None
        found = self._objects.get(plane.key)
        now, before = self.layers.points_in(plane), found.shown if found else []
        if now[: len(before)] == before:
            for click in now[len(before) :]:
                self._click_at(plane, click)
            return
        if found is None or found.waiting:
            raise EventError("the last click is not answered yet; try again")
        self._act(found, *events_between(before, now))

    # ---- to the engine and back

    def _plane(self) -> Plane:
        """Return the plane shown.

        Raises:
            EventError: no image is chosen, or it is not shown as a plane.
        """
        if self.image is None:
            raise EventError("open an image first")
        return Plane.shown(self._viewer, self.image)

    def _click_at(self, plane: Plane, click: PlaneClick) -> None:
        x, y, positive = click
        if not (0 <= x < plane.width and 0 <= y < plane.height):
            raise EventError(f"the click is outside {plane.layer.name!r}")
        assert self.layers is not None
        found = self._objects.get(plane.key)
        if found is None:
            label = int(self.layers.selection.selected_label) or 1
            found = PlaneObject(plane, label, self.layers.label_of(plane, label))
            self._objects[plane.key] = found
        found.waiting.append(click)
        self._show_points()
        self._act(found, methodcaller("click", x, y, positive), click=click)

    def _step(self, what: str, event: Event, none: str) -> None:
        with _reporting(self._report):
            found = self._objects.get(self._plane().key)
            # With events under way it is not known yet: the engine will say.
            if found is None or not (getattr(found, what) or found.waiting):
                raise EventError(none)
            self._act(found, event)

    def _act(
        self,
        target: PlaneObject,
        *events: Event,
        click: PlaneClick | None = None,
    ) -> None:
        look = Look.of(target.plane)
        layers = self.layers

        def end() -> None:
            self.busy -= 1
            if click is not None:
                target.waiting.remove(click)

        def done(result: Result) -> None:
            end()
            if layers is self.layers:  # otherwise another image was chosen meanwhile
                self._show(target, result)
            self._answered()
            self._report("")
            self._changed()

        def failed(error: ClickcutError) -> None:
            end()
            if layers is self.layers:
                self._show_points()
            self._say(error)

        self.busy += 1
        self._changed()
        self._engine.submit(lambda engine: engine.act(look, *events), done, failed)

    def _show(self, target: PlaneObject, result: Result) -> None:
        assert self.layers is not None
        target.clicks = result.clicks
        target.can_undo, target.can_redo = result.can_undo, result.can_redo
        boxes = [box for box in (target.box, result.box) if box is not None]
        target.box = result.box
        if boxes:
            region = boxes[0].union(boxes[-1])
            self.layers.paint(target.plane, target.label, result.mask, target.base, region)
        self._show_points()

    def _show_points(self) -> None:
        if self.layers is not None:
            self.layers.show_points([(o.plane, o.shown) for o in self._objects.values()])

    def _say(self, error: ClickcutError) -> None:
        self._report(str(error))
        self._changed()


@contextmanager
def _reporting(report: Callable[[str], None]) -> Iterator[None]:
    """Report an error of a person's action instead of raising it."""
    try:
        yield
    except ClickcutError as error:
        report(str(error))
