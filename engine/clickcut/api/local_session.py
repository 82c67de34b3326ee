"""Sessions in this process, with the interface of a client's sessions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike

from clickcut.api.protocols import Mask, Objects, Probability
from clickcut.backends import Predictor
from clickcut.checks import flag_of, number_of, shown
from clickcut.clicks import PlacedClick
from clickcut.encoding import full_probability
from clickcut.errors import EventError, SessionNotFoundError
from clickcut.parameters import checked_values
from clickcut.polygons import Polygon, to_polygons, tolerance_of
from clickcut.session import ClickSession, Step
from clickcut.timings import STAGES


class LocalSession:
    """A session of `clickcut.open`; see `clickcut.api.protocols.AnySession`.

    Closes when used in `with`. Thread-safe: events are applied one after the other.

    Args:
        session: does the computation.
        predictor: of the session.
        decode: milliseconds for decoding the image.
    """

    def __init__(self, session: ClickSession, predictor: Predictor, decode: float = 0.0) -> None:
        self._session: ClickSession | None = session
        self._image = session.image
        self._metadata = predictor.metadata
        self._lock = threading.Lock()
        self._timings = dict.fromkeys(STAGES, 0.0) | {"decode": decode, "total": decode}
        self._mask = _kept(session.mask)

    # ---- events

    def click(self, x: float, y: float, positive: bool = True) -> Mask:
        """Mark the pixel at (x, y) as object, or as background if not `positive`."""
        column, row = number_of(x, "x of a click"), number_of(y, "y of a click")
        sign = flag_of(positive, "positive")
        return self._apply(lambda session: session.click(column, row, sign))

    def stroke(self, points: ArrayLike, positive: bool = True) -> Mask:
        """Mark all pixels on a polyline: (N, 2), x and y of its corners, image pixels."""
        sign = flag_of(positive, "positive")
        return self._apply(lambda session: session.stroke(points, sign))

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Mask:
        """Set the box around the object, image pixels; it replaces an earlier one."""
        named = {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
        corners = [number_of(value, f"{name} of a box") for name, value in named.items()]
        return self._apply(lambda session: session.box(*corners))

    def move_click(self, index: int, x: float, y: float) -> Mask:
        """Move a click, by its index in `clicks`, to (x, y), as if it had been made there."""
        column, row = number_of(x, "x of a click"), number_of(y, "y of a click")
        return self._apply(lambda session: session.move_click(index, column, row))

    def remove_click(self, index: int) -> Mask:
        """Remove a click or stroke, by its index in `clicks`, as if it had not been made."""
        return self._apply(lambda session: session.remove_click(index))

    def start_from(self, mask: Mask) -> Mask:
        """Start from an initial mask, (H, W) bool, which clicks then correct."""
        array = np.asarray(mask)
        if array.dtype.kind not in "biuf":
            raise EventError(f"a mask is an (H, W) array of bool, got {shown(mask)}")
        return self._apply(lambda session: session.start_from(array != 0))

    def undo(self) -> Mask:
        """Undo the last click, stroke, change of a click, box, initial mask or reset."""
        return self._apply(lambda session: session.undo())

    def redo(self) -> Mask:
        """Redo what the last undo took back."""
        return self._apply(lambda session: session.redo())

    def reset(self) -> Mask:
        """Remove all clicks, box and initial mask of the current object."""
        return self._apply(lambda session: session.reset())

    def next_object(self, exclude_finished: bool = False) -> Mask:
        """Start a new object on the same image, with no clicks.

        With `exclude_finished` it never takes pixels that now belong to other objects.
        """
        excluding = flag_of(exclude_finished, "exclude_finished")
        return self._apply(lambda session: session.next_object(excluding))

    def edit_object(self, index: int, exclude_finished: bool = False) -> Mask:
        """Edit an earlier object again, by its `object_index`, with its clicks, undo and redo."""
        excluding = flag_of(exclude_finished, "exclude_finished")
        return self._apply(lambda session: session.edit_object(index, excluding))

    def set_parameters(
        self,
        *,
        cut_lambda: float | None = None,
        cut_sigma: float | None = None,
        seed_radius: float | None = None,
        cut: bool | None = None,
        threshold: float | None = None,
    ) -> Mask:
        """Change parameters; see `clickcut.parameters.Parameters`. None leaves one as it is."""
        values = {
            "cut_lambda": cut_lambda,
            "cut_sigma": cut_sigma,
            "seed_radius": seed_radius,
            "cut": cut,
            "threshold": threshold,
        }
        given = {name: value for name, value in values.items() if value is not None}
        changes = checked_values(given)
        return self._apply(lambda session: session.set_parameters(**changes))

    def _apply(self, event: Callable[[ClickSession], Step]) -> Mask:
        with self._lock:
            session = self._open
            began = time.perf_counter()
            step = event(session)
            if step.changed is not None:
                self._mask = _kept(session.mask)
            spent = 1e3 * (time.perf_counter() - began)
            self._timings = dict.fromkeys(STAGES, 0.0) | step.timings | {"total": spent}
            return self._mask

    # ---- results

    @property
    def mask(self) -> Mask:
        """The current mask, (H, W) bool, read-only."""
        return self._mask

    def polygons(self, tolerance: float = 0.0, *, valid: bool = False) -> list[Polygon]:
        """Return the outlines of the current mask; see `clickcut.polygons.to_polygons`.

        Raises:
            EventError: an impossible tolerance, or too many outlines for it.
        """
        tolerance, valid = tolerance_of(tolerance), flag_of(valid, "valid")
        with self._lock:
            selection = self._open.selection
            if selection.box is None:
                return []
            box = selection.box
            return to_polygons(selection.cropped(), tolerance, box.x0, box.y0, valid=valid)

    def probability(self) -> Probability:
        """Return the probability of object, (H, W) float32; 0 outside the network's region."""
        with self._lock:
            found = self._open.probability
        if found is None:
            return np.zeros((self.height, self.width), np.float32)
        region, values = found
        return full_probability(region, values, self.height, self.width)

    def objects(self) -> Objects:
        """Return all objects on the image, the current one included, by index."""
        with self._lock:
            return self._open.objects()

    @property
    def clicks(self) -> list[PlacedClick]:
        """Clicks and strokes of the current object in force, in the order made."""
        return self._open.clicks

    @property
    def num_clicks(self) -> int:
        """Number of clicks and strokes of the current object in force."""
        return self._open.num_clicks

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._open.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return self._open.can_redo

    @property
    def object_index(self) -> int:
        """Index of the current object: 0 for the first one on the image."""
        return self._open.object_index

    @property
    def num_objects(self) -> int:
        """Number of objects on the image, the current one included."""
        return self._open.num_objects

    @property
    def memory_bytes(self) -> int:
        """Memory of the session in bytes, without the image."""
        return self._open.nbytes

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of the last event, by stage."""
        return dict(self._timings)

    @property
    def width(self) -> int:
        """Columns of the image."""
        return self._image.width

    @property
    def height(self) -> int:
        """Rows of the image."""
        return self._image.height

    @property
    def digest(self) -> str:
        """SHA-256 of the image file, hex."""
        return self._image.digest

    @property
    def model(self) -> str:
        """Name of the model in use."""
        return self._metadata.name

    @property
    def model_version(self) -> str:
        """Version of the model in use."""
        return self._metadata.version

    @property
    def window(self) -> tuple[float, float] | None:
        """The sample values of the file that became 0 and 255; None for 8 bits as they are."""
        window = self._image.window
        return None if window is None else (window.low, window.high)

    @property
    def estimated_sigma(self) -> float:
        """Sigma of the contrast term as estimated from the image, grey levels."""
        return self._image.estimated_sigma

    # ---- the end

    @property
    def _open(self) -> ClickSession:
        if self._session is None:
            raise SessionNotFoundError("this session is closed; open a new one")
        return self._session

    def close(self) -> None:
        """Close the session and free its memory; `mask` stays readable."""
        with self._lock:
            self._session = None

    def __enter__(self) -> LocalSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _kept(mask: Mask) -> Mask:
    """Return a read-only copy."""
    copy = mask.copy()
    copy.flags.writeable = False
    return copy
