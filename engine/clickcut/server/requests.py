"""Convert requests to calls of a click session; an invalid request is an error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clickcut.encoding import from_png, from_rle
from clickcut.errors import EventError
from clickcut.image_file import Window
from clickcut.parameters import Parameters
from clickcut.polygons import tolerance_of
from clickcut.session import ClickSession, Step
from clickcut.v1 import clickcut_pb2 as pb


def apply_event(session: ClickSession, request: pb.SessionRequest) -> Step | None:
    """Apply the event of a request; return None for `show`, which changes nothing.

    Raises:
        EventError: it cannot be applied; the session is as it was.
        LimitError: too many events or points.
    """
    kind = request.WhichOneof("event")
    if kind == "show":
        return None
    if kind not in _APPLY:
        raise EventError(f"a request in an open session must be an event, got {kind or 'nothing'}")
    return _APPLY[kind](session, request)


def _click(session: ClickSession, request: pb.SessionRequest) -> Step:
    click = request.click
    return session.click(click.x, click.y, not click.negative)


def _stroke(session: ClickSession, request: pb.SessionRequest) -> Step:
    coordinates = np.array(request.stroke.coordinates, np.float64)
    if coordinates.size % 2:
        raise EventError(f"a stroke has x and y of each point, got {coordinates.size} numbers")
    return session.stroke(coordinates.reshape(-1, 2), not request.stroke.negative)


def _move_click(session: ClickSession, request: pb.SessionRequest) -> Step:
    moved = request.move_click
    return session.move_click(moved.index, moved.x, moved.y)


def draw_box(session: ClickSession, box: pb.Box) -> Step:
    """Apply a box of a client.

    Raises:
        EventError: see `ClickSession.box`.
    """
    return session.box(box.x0, box.y0, box.x1, box.y1)


def _edit_object(session: ClickSession, request: pb.SessionRequest) -> Step:
    edit = request.edit_object
    return session.edit_object(edit.index, edit.exclude_finished)


def _initial_mask(session: ClickSession, request: pb.SessionRequest) -> Step:
    return start_from(session, request.initial_mask)


def _set_parameters(session: ClickSession, request: pb.SessionRequest) -> Step:
    return session.set_parameters(**changes_of(request.set_parameters.parameters))


_APPLY: dict[str, Callable[[ClickSession, pb.SessionRequest], Step]] = {
    "click": _click,
    "stroke": _stroke,
    "move_click": _move_click,
    "remove_click": lambda session, request: session.remove_click(request.remove_click.index),
    "undo": lambda session, _: session.undo(),
    "redo": lambda session, _: session.redo(),
    "reset": lambda session, _: session.reset(),
    "initial_mask": _initial_mask,
    "box": lambda session, request: draw_box(session, request.box),
    "next_object": lambda session, request: session.next_object(
        request.next_object.exclude_finished
    ),
    "edit_object": _edit_object,
    "set_parameters": _set_parameters,
}


def start_from(session: ClickSession, initial: pb.InitialMask) -> Step:
    """Start from a mask of a client.

    Raises:
        EventError: neither RLE nor PNG, damaged, or not of the image's size.
    """
    height, width = session.image.height, session.image.width
    kind = initial.WhichOneof("mask")
    if kind == "png":
        return session.start_from(from_png(initial.png, height, width))
    if kind != "rle":
        raise EventError("the initial mask has neither rle nor png")
    rle = initial.rle
    if (rle.width, rle.height) != (width, height):
        raise EventError(
            f"the initial mask is {rle.width} x {rle.height} pixels, the image {width} x {height}"
        )
    return session.start_from(from_rle(rle.counts, height, width))


def changes_of(parameters: pb.Parameters) -> dict[str, float | bool]:
    """Return the fields that are set, by name."""
    return {field.name: value for field, value in parameters.ListFields()}


def parameters_of(message: pb.Parameters, defaults: Parameters) -> Parameters:
    """Return defaults with the fields replaced that are set.

    Raises:
        EventError: one is out of range.
    """
    return defaults.changed(**changes_of(message))


def window_of(message: pb.Open | pb.SegmentRequest | pb.UploadImageRequest) -> Window | None:
    """Return the requested window; None for none.

    Raises:
        ImageError: not finite, or empty.
    """
    if not message.HasField("window"):
        return None
    return Window(message.window.low, message.window.high)


def check_output(output: pb.Output) -> None:
    """Check the requested output.

    Raises:
        EventError: an unknown format or an impossible tolerance.
    """
    if output.mask not in pb.Output.MaskFormat.values():
        raise EventError(f"unknown mask format {output.mask}")
    tolerance_of(output.polygon_tolerance)
