"""The interface that all sessions share: in this process, on a server, and with `await`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clickcut.clicks import PlacedClick
from clickcut.polygons import Polygon
from clickcut.selection import SelectedObject

Mask = NDArray[np.bool_]
Probability = NDArray[np.float32]
Objects = list[SelectedObject]

M_co = TypeVar("M_co", covariant=True)
P_co = TypeVar("P_co", covariant=True)
L_co = TypeVar("L_co", covariant=True)


@runtime_checkable
class AnySession(Protocol[M_co, P_co, L_co]):
    """Select objects in one image, one after the other, click by click.

    Each event returns the mask after it: (H, W) bool, read-only, an array of its own. An event that
    cannot be applied raises an error of `clickcut.errors` and changes nothing. Coordinates: x to
    the right, y down, in pixels of the image as displayed; (0, 0) is the centre of the top-left
    pixel.
    """

    def click(self, x: float, y: float, positive: bool = True) -> M_co:
        """Mark the pixel at (x, y) as object, or as background if not `positive`."""

    def stroke(self, points: ArrayLike, positive: bool = True) -> M_co:
        """Mark all pixels on a polyline: (N, 2), x and y of its corners, image pixels."""

    def box(self, x0: float, y0: float, x1: float, y1: float) -> M_co:
        """Set the box around the object, image pixels; it replaces an earlier one."""

    def move_click(self, index: int, x: float, y: float) -> M_co:
        """Move a click, by its index in `clicks`, to (x, y), as if it had been made there."""

    def remove_click(self, index: int) -> M_co:
        """Remove a click or stroke, by its index in `clicks`, as if it had not been made."""

    def start_from(self, mask: Mask) -> M_co:
        """Start from an initial mask, (H, W) bool, which clicks then correct."""

    def undo(self) -> M_co:
        """Undo the last click, stroke, change of a click, box, initial mask or reset."""

    def redo(self) -> M_co:
        """Redo what the last undo took back."""

    def reset(self) -> M_co:
        """Remove all clicks, box and initial mask of the current object."""

    def next_object(self, exclude_finished: bool = False) -> M_co:
        """Start a new object on the same image, with no clicks."""

    def edit_object(self, index: int, exclude_finished: bool = False) -> M_co:
        """Edit an earlier object again, by its `object_index`, with its clicks, undo and redo."""

    def set_parameters(
        self,
        *,
        cut_lambda: float | None = None,
        cut_sigma: float | None = None,
        seed_radius: float | None = None,
        cut: bool | None = None,
        threshold: float | None = None,
    ) -> M_co:
        """Change parameters; see `clickcut.parameters.Parameters`. None leaves one as it is."""

    @property
    def mask(self) -> Mask:
        """The current mask, (H, W) bool, read-only."""

    def polygons(self, tolerance: float = 0.0, *, valid: bool = False) -> list[Polygon]:
        """Return the outlines of the current mask; see `clickcut.polygons.to_polygons`."""

    def probability(self) -> P_co:
        """Return the probability of object, (H, W) float32; 0 outside the network's region."""

    def objects(self) -> L_co:
        """Return all objects on the image, the current one included, by index."""

    @property
    def clicks(self) -> list[PlacedClick]:
        """Clicks and strokes of the current object in force, in the order made."""

    @property
    def num_clicks(self) -> int:
        """Number of clicks and strokes of the current object in force."""

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""

    @property
    def object_index(self) -> int:
        """Index of the current object: 0 for the first one on the image."""

    @property
    def num_objects(self) -> int:
        """Number of objects on the image, the current one included."""

    @property
    def width(self) -> int:
        """Columns of the image."""

    @property
    def height(self) -> int:
        """Rows of the image."""

    @property
    def digest(self) -> str:
        """SHA-256 of the image file, hex."""

    @property
    def model(self) -> str:
        """Name of the model in use."""

    @property
    def model_version(self) -> str:
        """Version of the model in use."""

    @property
    def window(self) -> tuple[float, float] | None:
        """The sample values of the file that became 0 and 255; None for 8 bits as they are."""

    @property
    def estimated_sigma(self) -> float:
        """Sigma of the contrast term as estimated from the image, grey levels."""

    @property
    def memory_bytes(self) -> int:
        """Memory of the session in bytes, without the image."""

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of the last event, by stage; see `Timings` of the wire contract."""

    def close(self) -> Any:
        """Close the session and free its memory."""


Session = AnySession[Mask, Probability, Objects]
"""A session whose methods return results."""

AsyncSession = AnySession[
    Coroutine[Any, Any, Mask], Coroutine[Any, Any, Probability], Coroutine[Any, Any, Objects]
]
"""A session whose methods return awaitables."""
