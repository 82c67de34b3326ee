"""What can be read of a click session; `ClickSession` changes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.clicks import PlacedClick
from clickcut.images import PreparedImage
from clickcut.parameters import Parameters
from clickcut.region import Region
from clickcut.selection import SelectedObject, Selection
from clickcut.session.events import Event, Prompts
from clickcut.session.history import History
from clickcut.session.objects import FinishedObject
from clickcut.session.pipeline import Pipeline
from clickcut.session.snapshot import Events, Snapshot
from clickcut.session.state import State


class SessionView:
    """A click session to those who only read it, as replies, recordings and limits do.

    Args:
        image: shared between sessions.
        predictor: shared between sessions.
        parameters: the bundle's defaults when None.
        solver: of the graph cut, one of `clickcut.cut.SOLVERS`.

    Attributes:
        image: as given.
        mask: (H, W) bool, the selection; read-only, changes in place with each event.
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
        self.object_index = 0
        self._pipeline = Pipeline(image, predictor, solver)
        self._history = History(self._pipeline, parameters or predictor.metadata.parameters)
        self._objects: list[FinishedObject | None] = [None]  # None: the current one
        self._state = State()
        self._mask = np.zeros((image.height, image.width), np.bool_)
        self.mask = self._mask.view()
        self.mask.flags.writeable = False

    @property
    def parameters(self) -> Parameters:
        """Parameters in force."""
        return self._history.parameters

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
        return self._state.object_probability

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

    def snapshot(self) -> Snapshot:
        """Return what `ClickSession.go_back` needs to make the session what it is now."""
        held = [found.history for found in self._objects if found is not None]
        return Snapshot(
            self.object_index,
            tuple(self._objects),
            self._state,
            Events.of(self._history),
            tuple(Events.of(history) for history in held),
        )
