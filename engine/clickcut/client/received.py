"""What a server sends -> arrays. A reply is checked before it is believed: it may be hostile."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.encoding import MAX_MASK_PIXELS, from_rle, full_probability
from clickcut.errors import EventError, ServerError
from clickcut.region import Region
from clickcut.v1 import clickcut_pb2 as pb

_MAX_PROBABILITIES = 2**24
"""Values of a probability map that are taken; networks see a few hundred pixels on a side."""


def check_image(image: pb.ImageInfo) -> None:
    """Check the size that a server gives for an image.

    Raises:
        ServerError: it has no pixels, or more than any image that is taken.
    """
    if not 0 < image.width * image.height <= MAX_MASK_PIXELS:
        raise ServerError(
            f"the server says that the image is {image.width} x {image.height} pixels"
        )


def mask_after(
    result: pb.Result, image: pb.ImageInfo, before: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    """The mask that a result leads to: (H, W) bool; None when it holds no mask.

    Args:
        result: of a reply.
        image: whose mask it is, checked.
        before: (H, W) bool, the mask before; a result may cover only what changed.

    Raises:
        ServerError: the mask is damaged or does not lie in the image.
    """
    if result.WhichOneof("mask") != "rle":
        return None
    if not result.area:
        return np.zeros((image.height, image.width), np.bool_)
    box, rle = _region(result.rectangle, image, "mask"), result.rle
    if (rle.height, rle.width) != (box.height, box.width):
        raise ServerError(
            f"the server sent a mask of {rle.width} x {rle.height} pixels for a rectangle of "
            f"{box.width} x {box.height}"
        )
    try:
        part = from_rle(rle.counts, rle.height, rle.width)
    except EventError as error:
        raise ServerError(f"the server sent a damaged mask: {error}") from error
    if part.shape == (image.height, image.width):
        return part
    if before.shape != (image.height, image.width):
        raise ServerError("the server sent a part of a mask before the whole")
    mask = before.copy()
    mask[box.slices] = part
    return mask


def probability_of(result: pb.Result, image: pb.ImageInfo) -> NDArray[np.float32]:
    """The probability per image pixel, (H, W) float32; 0 where the network did not look.

    Raises:
        ServerError: the map is damaged or does not lie in the image.
    """
    if not result.HasField("probability"):
        return np.zeros((image.height, image.width), np.float32)
    found = result.probability
    box = _region(found.region, image, "probability map")
    size = found.height * found.width
    if not 0 < size <= _MAX_PROBABILITIES or len(found.values) != 4 * size:
        raise ServerError(
            f"the server sent a probability map of {found.width} x {found.height} values in "
            f"{len(found.values)} bytes"
        )
    values = np.frombuffer(found.values, "<f4").reshape(found.height, found.width)
    return full_probability(box, values, image.height, image.width)


def metadata_of(model: pb.Model) -> dict[str, Any]:
    """What a model says of itself.

    Raises:
        ServerError: not a JSON object.
    """
    try:
        metadata = json.loads(model.metadata_json)
    except (ValueError, RecursionError) as error:
        raise ServerError(f"the server sent damaged metadata of {model.name!r}: {error}") from error
    if not isinstance(metadata, dict):
        raise ServerError(f"the server sent metadata of {model.name!r} that is not an object")
    return metadata


def _region(box: pb.Rectangle, image: pb.ImageInfo, what: str) -> Region:
    region = Region(box.x, box.y, box.x + box.width, box.y + box.height)
    whole = Region(0, 0, image.width, image.height)
    if not box.width or not box.height or not whole.contains(region):
        raise ServerError(
            f"the server sent a {what} for {box.width} x {box.height} pixels at ({box.x}, {box.y}) "
            f"of an image of {image.width} x {image.height}"
        )
    return region
