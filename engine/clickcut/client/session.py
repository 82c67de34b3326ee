"""The interface of sessions, shared by both clients."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clickcut.checks import flag_of, number_of
from clickcut.clicks import PlacedClick, checked_index
from clickcut.client.arguments import (
    box_message,
    click_message,
    initial_mask,
    parameters_message,
    stroke_message,
)
from clickcut.client.conversation import Conversation
from clickcut.client.protocol import Talk
from clickcut.client.replies import Mask, Objects, Probability, objects_of, probability_of
from clickcut.polygons import Polygon, to_polygons, tolerance_of
from clickcut.selection import bounding_box
from clickcut.timings import STAGES
from clickcut.v1 import clickcut_pb2 as pb

M = TypeVar("M")
"""A mask, or an awaitable of one."""
P = TypeVar("P")
"""A probability map, or an awaitable of one."""
L = TypeVar("L")
"""A list of objects, or an awaitable of one."""

_OBJECTS = pb.Output(mask=pb.Output.MASK_FORMAT_NONE, objects=True, clicks=True)
_PROBABILITY = pb.Output(mask=pb.Output.MASK_FORMAT_NONE, probability=True, clicks=True)


class SessionBase(Generic[M, P, L]):
    """Events and state of a session.

    See `clickcut.api.protocols.AnySession` for arguments and errors.
    """

    _conversation: Conversation

    @abstractmethod
    def _masking(self, talk: Talk[None]) -> M:
        """Run a conversation, then return the mask."""

    @abstractmethod
    def _probing(self, talk: Talk[Probability]) -> P:
        """Run a conversation that returns the probability map."""

    @abstractmethod
    def _listing(self, talk: Talk[Objects]) -> L:
        """Run a conversation that returns the objects."""

    # ---- events

    def click(self, x: float, y: float, positive: bool = True) -> M:
        """Mark the pixel at (x, y) as object, or as background if not `positive`.

        Image coordinates as displayed: x to the right, y down, (0, 0) the centre of the top left
        pixel.
        """
        return self._event(pb.SessionRequest(click=click_message(x, y, positive)))

    def stroke(self, points: ArrayLike, positive: bool = True) -> M:
        """Mark all pixels on a polyline: (N, 2), x and y of its corners, image pixels."""
        return self._event(pb.SessionRequest(stroke=stroke_message(points, positive)))

    def move_click(self, index: int, x: float, y: float) -> M:
        """Move a click, by its index in `clicks`, to (x, y), as if it had been made there."""
        column, row = number_of(x, "x of a click"), number_of(y, "y of a click")
        moved = pb.MoveClick(index=_index(index, "a click"), x=column, y=row)
        return self._event(pb.SessionRequest(move_click=moved))

    def remove_click(self, index: int) -> M:
        """Remove a click or stroke, by its index in `clicks`, as if it had not been made."""
        removed = pb.RemoveClick(index=_index(index, "a click"))
        return self._event(pb.SessionRequest(remove_click=removed))

    def undo(self) -> M:
        """Undo the last click, stroke, change of a click, box, initial mask or reset."""
        return self._event(pb.SessionRequest(undo=pb.Undo()))

    def redo(self) -> M:
        """Redo what the last undo took back."""
        return self._event(pb.SessionRequest(redo=pb.Redo()))

    def reset(self) -> M:
        """Remove all clicks, box and initial mask of the current object."""
        return self._event(pb.SessionRequest(reset=pb.Reset()))

    def box(self, x0: float, y0: float, x1: float, y1: float) -> M:
        """Set the box around the object, image pixels; it replaces an earlier one.

        It counts as drawn before all clicks; pixels whose centres lie in it belong to it.
        """
        return self._event(pb.SessionRequest(box=box_message((x0, y0, x1, y1))))

    def start_from(self, mask: NDArray[np.bool_]) -> M:
        """Start from an initial mask, (H, W) bool, which clicks then correct."""
        return self._event(pb.SessionRequest(initial_mask=initial_mask(mask)))

    def next_object(self, exclude_finished: bool = False) -> M:
        """Start a new object on the same image, with no clicks.

        With `exclude_finished` it never takes pixels that now belong to other objects.
        """
        excluding = flag_of(exclude_finished, "exclude_finished")
        following = pb.NextObject(exclude_finished=excluding)
        return self._event(pb.SessionRequest(next_object=following))

    def edit_object(self, index: int, exclude_finished: bool = False) -> M:
        """Edit an earlier object again, by its `object_index`, with its clicks, undo and redo.

        With `exclude_finished` it never takes pixels that now belong to other objects, from now on.
        """
        excluding = flag_of(exclude_finished, "exclude_finished")
        edit = pb.EditObject(index=_index(index, "an object"), exclude_finished=excluding)
        return self._event(pb.SessionRequest(edit_object=edit))

    def set_parameters(
        self,
        *,
        cut_lambda: float | None = None,
        cut_sigma: float | None = None,
        seed_radius: float | None = None,
        cut: bool | None = None,
        threshold: float | None = None,
    ) -> M:
        """Change parameters; see `clickcut.parameters.Parameters`. None leaves one as it is."""
        values = {
            "cut_lambda": cut_lambda,
            "cut_sigma": cut_sigma,
            "seed_radius": seed_radius,
            "cut": cut,
            "threshold": threshold,
        }
        given = {name: value for name, value in values.items() if value is not None}
        change = pb.SetParameters(parameters=parameters_message(given))
        return self._event(pb.SessionRequest(set_parameters=change))

    def _event(self, request: pb.SessionRequest) -> M:
        return self._masking(self._conversation.event(request))

    # ---- results

    @property
    def mask(self) -> Mask:
        """The current mask, (H, W) bool, read-only."""
        return self._conversation.mask

    def polygons(self, tolerance: float = 0.0, *, valid: bool = False) -> list[Polygon]:
        """Return the outlines of the current mask; see `clickcut.polygons.to_polygons`.

        Raises:
            EventError: an impossible tolerance, or too many outlines for it.
        """
        tolerance, valid = tolerance_of(tolerance), flag_of(valid, "valid")
        box = bounding_box(self.mask)
        if box is None:
            return []
        return to_polygons(self.mask[box.slices], tolerance, box.x0, box.y0, valid)

    def probability(self) -> P:
        """Return the probability of object, (H, W) float32; 0 outside the network's region."""
        return self._probing(self._probability())

    def _probability(self) -> Talk[Probability]:
        reply = yield from self._conversation.showing(_PROBABILITY)
        return probability_of(reply.result, self._conversation.image)

    def objects(self) -> L:
        """Return all objects on the image, the current one included, by index."""
        return self._listing(self._objects())

    def _objects(self) -> Talk[Objects]:
        reply = yield from self._conversation.showing(_OBJECTS)
        return objects_of(reply.result, self._conversation.image)

    @property
    def num_objects(self) -> int:
        """Number of objects on the image, the current one included."""
        return self._conversation.state.num_objects

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds on the server of the last request, by stage."""
        timings = self._conversation.state.timings
        return {stage: getattr(timings, stage) for stage in STAGES}

    @property
    def clicks(self) -> list[PlacedClick]:
        """Clicks and strokes of the current object in force, in the order made."""
        return [
            PlacedClick(c.x, c.y, not c.negative, c.num_points) for c in self._conversation.clicks
        ]

    @property
    def num_clicks(self) -> int:
        """Number of clicks and strokes of the current object in force."""
        return self._conversation.state.num_clicks

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._conversation.state.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return self._conversation.state.can_redo

    @property
    def object_index(self) -> int:
        """Index of the current object: 0 for the first one on the image."""
        return self._conversation.state.object_index

    @property
    def memory_bytes(self) -> int:
        """Memory of the session on the server in bytes, without the image."""
        return self._conversation.state.memory_bytes

    @property
    def id(self) -> str:
        """Id on the server; another one after the server was restarted."""
        return self._conversation.state.session_id

    @property
    def width(self) -> int:
        """Columns of the image."""
        return self._conversation.image.width

    @property
    def height(self) -> int:
        """Rows of the image."""
        return self._conversation.image.height

    @property
    def digest(self) -> str:
        """SHA-256 of the image file, hex."""
        return self._conversation.image.digest

    @property
    def model(self) -> str:
        """Name of the model in use."""
        return self._conversation.image.model

    @property
    def model_version(self) -> str:
        """Version of the model in use."""
        return self._conversation.image.model_version

    @property
    def window(self) -> tuple[float, float] | None:
        """The sample values of the file that became 0 and 255; None for 8 bits as they are."""
        image = self._conversation.image
        return (image.window.low, image.window.high) if image.HasField("window") else None

    @property
    def estimated_sigma(self) -> float:
        """Sigma of the contrast term as estimated from the image, grey levels."""
        return self._conversation.image.estimated_sigma


def _index(index: int, what: str) -> int:
    return min(checked_index(index, what), 2**32 - 1)  # the largest one fits into uint32
