"""Arguments of the clients' methods -> messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from clickcut.encoding import to_rle
from clickcut.errors import EventError
from clickcut.v1 import clickcut_pb2 as pb

ClickLike = tuple[float, float] | tuple[float, float, bool]
"""x, y and, optionally, whether it is positive."""

ParameterValues = Mapping[str, float | bool]
"""By name of the fields of `clickcut.parameters.Parameters`."""


def parameters_message(values: ParameterValues | None) -> pb.Parameters:
    """Parameters by name as a message.

    Raises:
        EventError: an unknown name, or a value of a wrong type.
    """
    message = pb.Parameters()
    for name, value in (values or {}).items():
        if name not in message.DESCRIPTOR.fields_by_name:
            known = ", ".join(field.name for field in message.DESCRIPTOR.fields)
            raise EventError(f"unknown parameter {name!r}; there are {known}")
        try:
            setattr(message, name, value)
        except (ValueError, TypeError) as error:
            raise EventError(f"{name} cannot be {value!r}: {error}") from error
    return message


def segment_request(
    clicks: Iterable[ClickLike],
    start_from: NDArray[np.bool_] | None,
    model: str,
    parameters: ParameterValues | None,
) -> pb.SegmentRequest:
    """A request without its image."""
    request = pb.SegmentRequest(model=model, parameters=parameters_message(parameters))
    for x, y, *sign in clicks:
        request.clicks.add(x=x, y=y, negative=bool(sign) and not sign[0])
    if start_from is not None:
        request.initial_mask.CopyFrom(initial_mask(start_from))
    return request


def event_name(request: pb.SessionRequest) -> str:
    """What a user calls the event of a request, with its arguments where they are short."""
    kind = request.WhichOneof("event") or "nothing"
    if kind == "click":
        sign = "negative" if request.click.negative else "positive"
        return f"the {sign} click ({request.click.x:g}, {request.click.y:g})"
    if kind == "stroke":
        return f"a stroke of {len(request.stroke.coordinates) // 2} points"
    return _EVENT_NAMES.get(kind, kind)


_EVENT_NAMES = {"initial_mask": "start_from (an initial mask)"}


def initial_mask(mask: NDArray[np.bool_]) -> pb.InitialMask:
    """A mask (H, W), bool or anything that is non-zero where selected, as a message.

    Raises:
        EventError: not two-dimensional, or empty.
    """
    array = np.asarray(mask) != 0
    if array.ndim != 2 or array.size == 0:
        raise EventError(f"a mask is an (H, W) array, got shape {array.shape}")
    rle = pb.Rle(height=array.shape[0], width=array.shape[1], counts=to_rle(array))
    return pb.InitialMask(rle=rle)
