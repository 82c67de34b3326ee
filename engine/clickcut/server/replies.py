"""Build replies from the state of a session, with the requested output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import BundleMetadata
from clickcut.encoding import to_png, to_rle
from clickcut.errors import EventError
from clickcut.images import PreparedImage
from clickcut.polygons import to_polygons
from clickcut.region import Region
from clickcut.selection import SelectedObject
from clickcut.session import SessionView, Step
from clickcut.v1 import clickcut_pb2 as pb

MAX_OBJECT_RUNS = 4_000_000
"""Runs of the masks of all objects in one reply, a few megabytes."""


def image_info(image: PreparedImage, model: BundleMetadata | None = None) -> pb.ImageInfo:
    """Return what a client learns about its image and the model in use."""
    window = image.window
    return pb.ImageInfo(
        width=image.width,
        height=image.height,
        digest=image.digest,
        model=model.name if model else "",
        model_version=model.version if model else "",
        estimated_sigma=image.estimated_sigma,
        window=pb.Window(low=window.low, high=window.high) if window else None,
    )


def whole(image: PreparedImage) -> Region:
    """Return the region of all its pixels."""
    return Region(0, 0, image.width, image.height)


def result(session: SessionView, output: pb.Output, rectangle: Region | None) -> pb.Result:
    """Return the current mask and the other requested output.

    Args:
        session: not touched by another thread meanwhile.
        output: what to include.
        rectangle: that the mask covers; None if nothing changed.
    """
    selection = session.selection
    reply = pb.Result(area=selection.area)
    if output.mask != pb.Output.MASK_FORMAT_NONE and rectangle is not None:
        reply.rectangle.CopyFrom(_rectangle(rectangle))
        _add_mask(reply, session, output.mask == pb.Output.MASK_FORMAT_PNG, rectangle)
    if output.polygons and selection.box is not None:
        _add_polygons(reply, selection.cropped(), selection.box, output)
    if output.probability and session.probability is not None:
        region, values = session.probability
        reply.probability.CopyFrom(
            pb.Probability(
                region=_rectangle(region),
                height=values.shape[0],
                width=values.shape[1],
                values=values.astype("<f4").tobytes(),
            )
        )
    if output.clicks:
        reply.clicks.extend(
            pb.PlacedClick(x=c.x, y=c.y, negative=not c.positive, num_points=c.num_points)
            for c in session.clicks
        )
    if output.objects:
        _add_objects(reply, session.objects())
    return reply


def add_state(reply: pb.SessionReply, session: SessionView) -> None:
    """Set the fields that every reply of a session has."""
    reply.object_index = session.object_index
    reply.num_objects = session.num_objects
    reply.num_clicks = session.num_clicks
    reply.can_undo = session.can_undo
    reply.can_redo = session.can_redo
    reply.memory_bytes = session.nbytes


def add_timings(timings: pb.Timings, step: Step | None) -> None:
    """Add the stages of a step."""
    spent = step.timings if step else {}
    timings.maps += spent.get("maps", 0.0)
    timings.network += spent.get("network", 0.0)
    timings.cut += spent.get("cut", 0.0)


def _add_objects(reply: pb.Result, objects: list[SelectedObject]) -> None:
    runs = 0
    for found in objects:
        selection = found.selection
        message = reply.objects.add(
            index=found.index, area=selection.area, num_clicks=found.num_clicks
        )
        if selection.box is None:
            continue
        message.rectangle.CopyFrom(_rectangle(selection.box))
        if runs > MAX_OBJECT_RUNS:
            continue
        mask = selection.cropped()
        runs += int(np.count_nonzero(mask[1:] != mask[:-1])) + mask.shape[1]
        if runs <= MAX_OBJECT_RUNS:
            message.rle.height, message.rle.width = mask.shape
            message.rle.counts = to_rle(mask)
    if runs > MAX_OBJECT_RUNS:
        for message in reply.objects:
            message.ClearField("rle")
        reply.objects_refused = (
            f"the masks of the objects have more than {MAX_OBJECT_RUNS:,} runs together: smooth "
            "them, or go to each with edit_object and ask for its mask"
        )


def _add_mask(reply: pb.Result, session: SessionView, png: bool, rectangle: Region) -> None:
    part = session.mask[rectangle.slices]
    if png:
        reply.png = to_png(part)
        return
    reply.rle.height, reply.rle.width = part.shape
    common = _common(rectangle, session.selection.box)
    reply.rle.counts = to_rle(part, common.relative_to(rectangle))


def _add_polygons(
    reply: pb.Result, mask: NDArray[np.bool_], box: Region, output: pb.Output
) -> None:
    valid = output.valid_polygons
    try:
        polygons = to_polygons(mask, output.polygon_tolerance, box.x0, box.y0, valid)
    except EventError as error:  # the mask itself is valid
        reply.polygons_refused = str(error)
        return
    for polygon in polygons:
        parent = polygon.parent if polygon.parent >= 0 else None
        coordinates = polygon.points.ravel().tolist()
        reply.polygons.add(coordinates=coordinates, hole=polygon.hole, parent=parent)


def _common(rectangle: Region, box: Region | None) -> Region:
    """Return pixels of both; an empty region when there are none."""
    if box is None:
        return Region(rectangle.x0, rectangle.y0, rectangle.x0, rectangle.y0)
    return rectangle.intersection(box)


def _rectangle(region: Region) -> pb.Rectangle:
    return pb.Rectangle(x=region.x0, y=region.y0, width=region.width, height=region.height)
