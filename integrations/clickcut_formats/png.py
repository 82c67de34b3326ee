"""Masks as PNG files: one per object, or all objects of an image by number in one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clickcut.encoding import to_png
from clickcut_formats.annotation import MAX_PIXELS, LabelledImage, LabelledObject
from clickcut_formats.errors import FormatError
from clickcut_formats.files import Encoded
from clickcut_formats.reading import read_bytes

MAX_INDEX = 255
"""Objects that an indexed PNG can tell apart."""


def encode_binary(images: Sequence[LabelledImage]) -> Encoded:
    """A file per object, 0 or 255: `photo_mask_1.png`, ..."""
    files = {
        f"{image.path_stem}_mask_{number}.png": to_png(item.mask)
        for image in images
        for number, item in enumerate(image.objects, 1)
    }
    return Encoded(files)


def encode_indexed(images: Sequence[LabelledImage]) -> Encoded:
    """A file per image, `photo_objects.png`: background 0, then the objects 1, 2, ... in colour.

    Raises:
        FormatError: more objects on an image than an index can hold.
    """
    notes: list[str] = []
    files = {f"{image.path_stem}_objects.png": _indexed(image, notes) for image in images}
    return Encoded(files, notes)


def _indexed(image: LabelledImage, notes: list[str]) -> bytes:
    if len(image.objects) > MAX_INDEX:
        raise FormatError(
            image.name, [f"{len(image.objects)} objects, and an indexed PNG holds {MAX_INDEX}"]
        )
    index = np.zeros((image.height, image.width), np.uint8)
    hidden = 0
    for number, item in enumerate(image.objects, 1):
        mask = item.mask
        hidden += int(np.count_nonzero(index[mask]))
        index[mask] = number
    if hidden:
        notes.append(f"{image.name}: objects overlap in {hidden:,} pixels; the later one has them")
    picture = Image.fromarray(index)
    picture.putpalette(_palette().ravel().tolist())  # makes its mode P
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=4)
    return out.getvalue()


def _palette() -> NDArray[np.uint8]:
    """Colours of PASCAL VOC, (256, 3) uint8: bits of the index spread over the channels."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            of_index = (index >> (3 * bit + channel)) & 1 if 3 * bit + channel < 8 else 0 * index
            colours[:, channel] |= (of_index << (7 - bit)).astype(np.uint8)
    return colours


def read(path: Path) -> list[LabelledImage]:
    """Read a mask: a palette PNG gives an object per index, another one a single object.

    Raises:
        FormatError: no PNG, damaged, too large, or with colours.
    """
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise FormatError(str(path), [f"{image.width} x {image.height} is too large"])
            if image.mode not in ("1", "L", "P"):
                raise FormatError(
                    str(path), [f"a mask is a grey or indexed PNG, not one of mode {image.mode}"]
                )
            indexed = image.mode == "P"
            values = np.array(image)
    except UnidentifiedImageError as error:
        raise FormatError(str(path), ["not a PNG file"]) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise FormatError(str(path), [f"a damaged PNG file ({error})"]) from error
    height, width = values.shape
    if indexed:
        present = [int(index) for index in np.unique(values) if index]
        objects = [LabelledObject.of(f"object {i}", values == i, i) for i in present]
    else:
        objects = [LabelledObject.of("object", values != 0)]
    return [LabelledImage(path.name, width, height, objects)]
