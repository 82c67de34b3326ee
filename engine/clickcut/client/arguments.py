"""Arguments of the clients' methods -> messages. Each is checked here, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clickcut.encoding import to_rle
from clickcut.errors import EventError
from clickcut.v1 import clickcut_pb2 as pb

ClickLike = tuple[float, float] | tuple[float, float, bool]
"""x, y and, optionally, whether it is positive."""

BoxLike = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

ParameterValues = Mapping[str, float | bool]
"""By name of the fields of `clickcut.parameters.Parameters`."""

MAX_STROKE_POINTS = 50_000
"""Corners of one stroke; no server takes more."""

_KINDS = {"cut": bool}
"""Parameters that are not numbers."""


def number_of(value: object, name: str) -> float:
    """A finite number, of Python or NumPy, as float.

    Raises:
        EventError: anything else: a bool, a text, None, an array, NaN.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    number = isinstance(value, int | float | np.integer | np.floating)
    if not number or isinstance(value, bool):
        raise EventError(f"{name} must be a number, got {_shown(value)}")
    try:
        found = float(value)  # type: ignore[arg-type]
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise EventError(f"{name} must be a finite number, got {_shown(value)}")
    return found


def flag_of(value: object, name: str) -> bool:
    """True or False, of Python or NumPy.

    Raises:
        EventError: anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise EventError(f"{name} must be True or False, got {_shown(value)}")
    return bool(value)


def text_of(value: object, name: str) -> str:
    """A text that can be sent.

    Raises:
        EventError: not a str, or one with undecodable bytes of a file name.
    """
    if not isinstance(value, str):
        raise EventError(f"{name} must be a str, got {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise EventError(f"{name} must be text that is valid Unicode, got {value!r}") from error
    return value


def click_message(x: object, y: object, positive: object = True) -> pb.Click:
    """A click.

    Raises:
        EventError: x or y is not a finite number, `positive` not a bool.
    """
    return pb.Click(
        x=number_of(x, "x of a click"),
        y=number_of(y, "y of a click"),
        negative=not flag_of(positive, "positive"),
    )


def stroke_message(points: ArrayLike, positive: object = True) -> pb.Stroke:
    """A stroke.

    Raises:
        EventError: not an (N, 2) array of finite numbers, or too long.
    """
    array = _array(points)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iuf":
        raise EventError(
            f"a stroke is an (N, 2) array of numbers x, y; got shape {array.shape} of {array.dtype}"
        )
    if not 0 < len(array) <= MAX_STROKE_POINTS:
        raise EventError(f"a stroke has 1 to {MAX_STROKE_POINTS} points, got {len(array)}")
    if not np.isfinite(array).all():
        raise EventError("the points of a stroke must be finite numbers")
    coordinates = array.astype(np.float64).ravel().tolist()
    return pb.Stroke(coordinates=coordinates, negative=not flag_of(positive, "positive"))


def parameters_message(values: ParameterValues | None) -> pb.Parameters:
    """Parameters by name as a message.

    Raises:
        EventError: an unknown name, or a value of a wrong type.
    """
    if values is not None and not isinstance(values, Mapping):
        raise EventError(f"parameters are a dict by name, got {_shown(values)}")
    message = pb.Parameters()
    for name, value in (values or {}).items():
        if name not in message.DESCRIPTOR.fields_by_name:
            known = ", ".join(field.name for field in message.DESCRIPTOR.fields)
            raise EventError(f"unknown parameter {name!r}; there are {known}")
        check = flag_of if _KINDS.get(name) is bool else number_of
        setattr(message, name, check(value, name))
    return message


def box_message(x0: float, y0: float, x1: float, y1: float) -> pb.Box:
    """A box as a message.

    Raises:
        EventError: a corner is not a finite number.
    """
    names = ("x0", "y0", "x1", "y1")
    corners = {
        n: number_of(v, f"{n} of a box") for n, v in zip(names, (x0, y0, x1, y1), strict=True)
    }
    return pb.Box(**corners)


def _corners(box: Any) -> tuple[Any, Any, Any, Any]:
    try:
        x0, y0, x1, y1 = box
    except (TypeError, ValueError) as error:
        raise EventError(f"a box is (x0, y0, x1, y1), got {_shown(box)}") from error
    return x0, y0, x1, y1


def segment_request(
    clicks: Iterable[ClickLike],
    box: BoxLike | None,
    start_from: NDArray[np.bool_] | None,
    model: str,
    parameters: ParameterValues | None,
) -> pb.SegmentRequest:
    """A request without its image.

    Raises:
        EventError: an argument is not of its kind.
    """
    request = pb.SegmentRequest(
        model=text_of(model, "model"), parameters=parameters_message(parameters)
    )
    try:
        rows: list[tuple[Any, ...]] = [tuple(click) for click in clicks]
    except TypeError as error:
        raise EventError(
            f"clicks are a list of (x, y) or (x, y, positive), got {_shown(clicks)}"
        ) from error
    for row in rows:
        if len(row) not in (2, 3):
            raise EventError(f"a click is (x, y) or (x, y, positive), got {_shown(row)}")
        positive = row[2] if len(row) == 3 else True
        if isinstance(positive, int | float | np.number) and positive in (0, 1):
            positive = bool(positive)  # a row of an array has its sign as a number
        request.clicks.append(click_message(row[0], row[1], positive))
    if box is not None:
        request.box.CopyFrom(box_message(*_corners(box)))
    if start_from is not None:
        request.initial_mask.CopyFrom(initial_mask(start_from))
    return request


def initial_mask(mask: NDArray[np.bool_]) -> pb.InitialMask:
    """A mask (H, W), bool or numbers that are non-zero where selected, as a message.

    Raises:
        EventError: not two-dimensional, empty, or not of numbers.
    """
    array = _array(mask)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "biuf":
        raise EventError(
            f"a mask is an (H, W) array of bool, got shape {array.shape} of {array.dtype}"
        )
    rle = pb.Rle(height=array.shape[0], width=array.shape[1], counts=to_rle(array != 0))
    return pb.InitialMask(rle=rle)


def _array(value: object) -> NDArray[Any]:
    """A value as an array; one of objects, which the caller refuses, when it is none."""
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):  # rows of different lengths
        return np.empty(0, object)


def event_name(request: pb.SessionRequest) -> str:
    """What a user calls the event of a request, with its arguments where they are short."""
    kind = request.WhichOneof("event") or "nothing"
    if kind == "click":
        sign = "negative" if request.click.negative else "positive"
        return f"the {sign} click ({request.click.x:g}, {request.click.y:g})"
    if kind == "stroke":
        return f"a stroke of {len(request.stroke.coordinates) // 2} points"
    return "start_from (an initial mask)" if kind == "initial_mask" else kind


def _shown(value: object) -> str:
    """A value as an error names it."""
    text = repr(value)
    kind = type(value).__name__
    return f"{kind} {text[:60]}{'...' if len(text) > 60 else ''}"
