"""Check and decode the replies of a server; nothing in a reply is trusted.

A wrong address, another version or a hostile server must end in an error here, never in a crash,
a huge allocation or an array of the wrong shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from clickcut.encoding import MAX_MASK_PIXELS, from_rle, full_probability
from clickcut.errors import ClickcutError, EventError, ServerError
from clickcut.grpc_status import error_of, seconds_of
from clickcut.region import Region
from clickcut.selection import EMPTY, SelectedObject, Selection
from clickcut.v1 import clickcut_pb2 as pb

Mask = NDArray[np.bool_]
Probability = NDArray[np.float32]
Objects = list[SelectedObject]

MAX_PROBABILITY_SIDE = 8192
"""Maximum side of a probability map, network pixels."""

MAX_SEQUENCE = 2**62
"""Maximum sequence number; no client counts that far."""

MAX_TEXT = 1000
"""Maximum length of an id, name or digest, characters."""


class InvalidReplyError(ServerError):
    """The server sent a reply that cannot be right."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of a server; see `Model` of the wire contract.

    Attributes:
        metadata: of the bundle.
        share: of the sessions that give `name` without a version, the part that gets this one.
    """

    name: str
    version: str
    architecture: str
    backend: str
    is_default: bool
    input_size: int
    metadata: dict[str, Any]
    share: float


def check_reply(reply: pb.SessionReply, request: pb.SessionRequest) -> None:
    """Check the fields of a session reply that make up the state.

    Raises:
        InvalidReplyError: it answers another request, or a number is impossible.
    """
    if reply.sequence != request.sequence:
        raise _invalid(f"it answers request {reply.sequence}, not {request.sequence}")
    if reply.applied_sequence > MAX_SEQUENCE:
        raise _invalid(f"it counts {reply.applied_sequence} events")
    if len(reply.session_id) > MAX_TEXT:
        raise _invalid(f"a session id of {len(reply.session_id)} characters")


def error_in(reply: pb.SessionReply) -> ClickcutError:
    """Return the error that a reply carries."""
    error = reply.error
    # The code alone does not say whether to try again.
    limit = error.code == StatusCode.RESOURCE_EXHAUSTED.value[0]
    name = ("BusyError" if error.retry else "LimitError") if limit else ""
    return error_of(error.code, error.message, name, seconds_of(error.retry_after_ms))


def raise_error_in(reply: pb.SessionReply) -> None:
    """Raise the error that a reply carries, if any."""
    if reply.HasField("error"):
        raise error_in(reply)


def check_image(image: pb.ImageInfo) -> None:
    """Check the image info of a server.

    Raises:
        InvalidReplyError: it has no pixels, or more than any server accepts.
    """
    if not 0 < image.width * image.height <= MAX_MASK_PIXELS:
        raise _invalid(f"an image of {image.width} x {image.height} pixels")
    for text in (image.digest, image.model, image.model_version):
        if len(text) > MAX_TEXT:
            raise _invalid(f"a name of {len(text)} characters")


def updated_mask(mask: Mask, result: pb.Result, image: pb.ImageInfo) -> Mask:
    """Return the mask after a result that may hold only what changed.

    Args:
        mask: (H, W) bool, before; not changed.
        result: of a reply.
        image: checked.

    Returns:
        (H, W) bool, read-only; `mask` itself when the result holds no mask.

    Raises:
        InvalidReplyError: the result does not fit the image, or is damaged.
    """
    after = _mask_after(mask, result, image)
    if after is not mask:
        after.flags.writeable = False
    return after


def mask_of(reply: pb.SegmentReply) -> Mask:
    """Return the mask of a reply, (H, W) bool.

    Raises:
        InvalidReplyError: there is none, it is damaged, or not of the image's size.
    """
    check_image(reply.image)
    if reply.result.WhichOneof("mask") is None:
        raise _invalid("no mask")
    return _mask_after(np.zeros((0, 0), np.bool_), reply.result, reply.image)


def _mask_after(mask: Mask, result: pb.Result, image: pb.ImageInfo) -> Mask:
    kind = result.WhichOneof("mask")
    if kind is None:
        return mask
    if kind != "rle":
        raise _invalid(f"a mask as {kind}, requested as rle")
    shape = image.height, image.width
    box, rle = _region(result.rectangle, image), result.rle
    if (rle.height, rle.width) != (box.height, box.width):
        raise _invalid(
            f"a mask of {rle.width} x {rle.height} pixels for a rectangle of "
            f"{box.width} x {box.height}"
        )
    with _memory_for(image):
        if not result.area:
            return np.zeros(shape, np.bool_)
        part = _decoded(rle)
        if part.shape == shape:
            return part
        if mask.shape != shape:
            raise _invalid("a part of a mask before the whole")
        mask = mask.copy()
        mask[box.slices] = part
        return mask


def probability_of(result: pb.Result, image: pb.ImageInfo) -> Probability:
    """Return the probability of a result per image pixel, (H, W) float32; 0 where there is none.

    Raises:
        InvalidReplyError: its numbers do not fit each other or the image.
    """
    with _memory_for(image):
        if not result.HasField("probability"):
            return np.zeros((image.height, image.width), np.float32)
        found = result.probability
        if not (
            0 < found.height <= MAX_PROBABILITY_SIDE
            and 0 < found.width <= MAX_PROBABILITY_SIDE
            and len(found.values) == 4 * found.height * found.width
        ):
            raise _invalid(
                f"a probability of {found.width} x {found.height} values in "
                f"{len(found.values)} bytes"
            )
        values = np.frombuffer(found.values, "<f4").reshape(found.height, found.width)
        region = _region(found.region, image)
        return full_probability(region, values, image.height, image.width)


def objects_of(result: pb.Result, image: pb.ImageInfo) -> Objects:
    """Return the objects of a result.

    Raises:
        EventError: their masks are too fragmented to be sent together.
        InvalidReplyError: a mask is damaged, or does not fit the image.
    """
    if result.objects_refused:
        raise EventError(result.objects_refused[:1000])
    found = []
    for item in result.objects:
        selection = EMPTY
        if item.HasField("rle"):
            region = _region(item.rectangle, image)
            if (item.rle.height, item.rle.width) != (region.height, region.width):
                raise _invalid("an object whose mask does not fill its rectangle")
            with _memory_for(image):
                selection = Selection.of(_decoded(item.rle), region.x0, region.y0)
        found.append(SelectedObject(item.index, selection, item.num_clicks))
    return found


def models_of(reply: pb.ListModelsReply) -> list[ModelInfo]:
    """Return the models of a reply, the default first.

    Raises:
        InvalidReplyError: a model's metadata is not a JSON object.
    """
    models = [
        ModelInfo(
            name=m.name,
            version=m.version,
            architecture=m.architecture,
            backend=m.backend,
            is_default=m.is_default,
            input_size=m.input_size,
            metadata=_metadata_of(m),
            share=m.share,
        )
        for m in reply.models
    ]
    return sorted(models, key=lambda m: not m.is_default)


def _metadata_of(model: pb.Model) -> dict[str, Any]:
    try:
        found = json.loads(model.metadata_json)
    except (ValueError, RecursionError) as error:
        raise _invalid("metadata of a model that is not JSON") from error
    if not isinstance(found, dict):
        raise _invalid("metadata of a model that is not a JSON object")
    return found


def _region(box: pb.Rectangle, image: pb.ImageInfo) -> Region:
    region = Region(box.x, box.y, box.x + box.width, box.y + box.height)
    if not box.width * box.height or region.x1 > image.width or region.y1 > image.height:
        raise _invalid(
            f"a rectangle of {box.width} x {box.height} pixels at ({box.x}, {box.y}) in an image "
            f"of {image.width} x {image.height}"
        )
    return region


def _decoded(rle: pb.Rle) -> Mask:
    try:
        return from_rle(rle.counts, rle.height, rle.width)
    except EventError as error:  # its message addresses the sender, here the server
        raise _invalid(str(error)) from error


@contextmanager
def _memory_for(image: pb.ImageInfo) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ServerError(
            f"not enough memory for the mask of an image of {image.width} x {image.height} pixels"
        ) from error


def _invalid(what: str) -> InvalidReplyError:
    return InvalidReplyError(
        f"the reply of the server cannot be right: {what}; is it a clickcut server of this version?"
    )
