"""Check the arguments of the clients' methods and convert them to messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clickcut.checks import flag_of, number_of, shown, text_of
from clickcut.encoding import to_rle
from clickcut.errors import EventError
from clickcut.parameters import checked_values
from clickcut.v1 import clickcut_pb2 as pb

ClickLike = tuple[float, float] | tuple[float, float, bool]
"""x, y and, optionally, whether it is positive."""

BoxLike = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

ParameterValues = Mapping[str, float | bool]
"""By name of the fields of `clickcut.parameters.Parameters`."""

MAX_STROKE_POINTS = 50_000
"""Maximum number of corners of a stroke; no server accepts more."""


def click_message(x: object, y: object, positive: object = True) -> pb.Click:
    """Return the message of a click.

    Raises:
        EventError: x or y is not a finite number, `positive` not a bool.
    """
    return pb.Click(
        x=number_of(x, "x of a click"),
        y=number_of(y, "y of a click"),
        negative=not flag_of(positive, "positive"),
    )


def stroke_message(points: ArrayLike, positive: object = True) -> pb.Stroke:
    """Return the message of a stroke.

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


def box_message(box: object) -> pb.Box:
    """Return the message of a box.

    Raises:
        EventError: not four finite numbers x0, y0, x1, y1.
    """
    values = list(box) if isinstance(box, Iterable) else []
    if len(values) != 4:
        raise EventError(f"a box is four numbers x0, y0, x1, y1; got {shown(box)}")
    names = ("x0", "y0", "x1", "y1")
    corners = {n: number_of(v, f"{n} of a box") for n, v in zip(names, values, strict=True)}
    return pb.Box(**corners)


def parameters_message(values: ParameterValues | None) -> pb.Parameters:
    """Parameters by name as a message.

    Raises:
        EventError: an unknown name, or a value of a wrong type.
    """
    message = pb.Parameters()
    for name, value in checked_values(values).items():
        setattr(message, name, value)
    return message


def segment_request(
    clicks: Iterable[ClickLike],
    box: BoxLike | None,
    start_from: NDArray[np.bool_] | None,
    model: str,
    parameters: ParameterValues | None,
) -> pb.SegmentRequest:
    """Return a request without its image.

    Raises:
        EventError: an argument is invalid.
    """
    request = pb.SegmentRequest(
        model=text_of(model, "model"), parameters=parameters_message(parameters)
    )
    try:
        rows: list[tuple[Any, ...]] = [tuple(click) for click in clicks]
    except TypeError as error:
        raise EventError(
            f"clicks are a list of (x, y) or (x, y, positive), got {shown(clicks)}"
        ) from error
    for row in rows:
        if len(row) not in (2, 3):
            raise EventError(f"a click is (x, y) or (x, y, positive), got {shown(row)}")
        positive = row[2] if len(row) == 3 else True
        if isinstance(positive, int | float | np.number) and positive in (0, 1):
            positive = bool(positive)  # in a row of an array it is a number
        request.clicks.append(click_message(row[0], row[1], positive))
    if box is not None:
        request.box.CopyFrom(box_message(box))
    if start_from is not None:
        request.initial_mask.CopyFrom(initial_mask(start_from))
    return request


def initial_mask(mask: NDArray[np.bool_]) -> pb.InitialMask:
    """Return the message of an initial mask (H, W), bool or numbers, non-zero is selected.

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
    """Return a value as an array; of dtype object, which callers reject, if it is not one."""
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):  # rows of different lengths
        return np.empty(0, object)


def event_name(request: pb.SessionRequest) -> str:
    """Return the name of the event of a request for messages, with short arguments."""
    kind = request.WhichOneof("event") or "nothing"
    if kind == "click":
        sign = "negative" if request.click.negative else "positive"
        return f"the {sign} click ({request.click.x:g}, {request.click.y:g})"
    if kind == "stroke":
        return f"a stroke of {len(request.stroke.coordinates) // 2} points"
    return "start_from (an initial mask)" if kind == "initial_mask" else kind
