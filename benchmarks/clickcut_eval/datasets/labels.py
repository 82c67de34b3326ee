"""Masks stored as images: a number per instance, or grey values."""

from __future__ import annotations

import io
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickcut_eval.datasets.entry import LIMITS, FaultyPhotoError, read_bytes
from clickcut_eval.datasets.rle import Rle, encode_mask

VOID = 255
"""The id of pixels that belong to no instance for certain."""

_IDS = ("1", "L", "P", "I;16")
_GREY = ("1", "L", "P", "LA", "RGB", "RGBA")


def read_id_map(path: Path) -> NDArray[np.uint16]:
    """The ids of a mask file; see `decode_id_map`."""
    return decode_id_map(read_bytes(path), path.name)


def decode_id_map(data: bytes, name: str) -> NDArray[np.uint16]:
    """The ids of a PNG with a palette or in grey, 8 or 16 bits: (H, W) uint16, column order.

    Raises:
        FaultyPhotoError: missing, damaged, too large (found from its header), in colour.
    """
    kind = "ids are one number per pixel: save it with a palette or in grey"
    return np.asfortranarray(_decode(data, name, ("PNG",), _IDS, kind), np.uint16)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """The values of a mask that people painted: numbers of a palette, grey, the largest of colours.

    Args:
        path: an image of any format, 8 bits.

    Returns:
        (H, W) uint8; 0 and 255 of an image with one bit.

    Raises:
        FaultyPhotoError: missing, damaged, too large, or with more than 8 bits.
    """
    values = _decode(read_bytes(path), path.name, None, _GREY, "8 bits are wanted")
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.ndim == 3:
        values = values[..., : 1 if values.shape[2] == 2 else 3].max(axis=2)
    return np.asarray(values, np.uint8)


def _decode(
    data: bytes, name: str, formats: tuple[str, ...] | None, modes: Container[str], advice: str
) -> NDArray[Any]:
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > LIMITS.max_pixels or max(width, height) > LIMITS.max_side:
                raise FaultyPhotoError(
                    f"the mask {name} is {width} x {height} pixels; at most "
                    f"{LIMITS.max_pixels:,} are read"
                )
            if image.mode not in modes:
                raise FaultyPhotoError(f"the mask {name} is a {image.mode} picture; {advice}")
            return np.array(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        what = " or ".join(formats) if formats else "image"
        raise FaultyPhotoError(f"the mask {name} is damaged or not {what}: {error}") from error


def ids_in(ids: NDArray[np.uint16]) -> list[int]:
    """The different values, ascending."""
    return [int(i) for i in np.flatnonzero(np.bincount(ids.ravel(order="K")))]


def instances_of(
    ids: NDArray[np.uint16], void: int | None = VOID
) -> tuple[tuple[Rle, ...], Rle | None, tuple[int, ...]]:
    """Instances, void pixels and ids of an (H, W) map; 0 is background."""
    numbers = tuple(i for i in ids_in(ids) if i not in (0, void))
    unsure = ids == void if void is not None else np.zeros(1, bool)
    return (
        tuple(encode_mask(ids == i) for i in numbers),
        encode_mask(unsure) if unsure.any() else None,
        numbers,
    )
