"""Photos brought to the size and encoding in which they are packed."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickcut_eval.datasets.rle import Rle, decode_mask, encode_mask
from clickcut_train.data.manifest import PackOptions
from clickcut_train.data.photo import Photo
from clickcut_train.errors import DataError

_ORIENTATION = 0x0112  # EXIF


def scaled(photo: Photo, pixels: NDArray[np.uint8], options: PackOptions) -> Photo:
    """The photo as a JPEG of at most `long_side` pixels; a JPEG that fits is kept as it is.

    Args:
        photo: checked.
        pixels: its image, (H, W, 3) uint8, RGB, upright.
        options: `long_side` and `quality`.
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= options.long_side and _is_plain_jpeg(photo.encoded):
        return photo
    factor = min(1.0, options.long_side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(
        ".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, options.quality]
    )
    if not done:
        raise DataError(f"{photo.name}: OpenCV cannot encode it as a JPEG")
    rles = tuple(_scaled_mask(rle, size) for rle in photo.rles)
    void = None if photo.void is None else _void_beside(_scaled_mask(photo.void, size), rles)
    return Photo(photo.name, encoded.tobytes(), rles, void)


def _scaled_mask(rle: Rle, size: tuple[int, int]) -> Rle:
    """A mask at another size (width, height): set where most of the pixel was."""
    return encode_mask(cv2.resize(decode_mask(rle) * 255, size, interpolation=cv2.INTER_AREA) > 127)


def _void_beside(void: Rle, rles: Sequence[Rle]) -> Rle:
    """Void pixels that no instance covers after rounding."""
    rest = decode_mask(void)
    for rle in rles:
        rest &= 1 - decode_mask(rle)
    return encode_mask(rest)


def _is_plain_jpeg(encoded: bytes) -> bool:
    """A JPEG that every decoder shows alike: grey or colour, not turned by its EXIF data."""
    with Image.open(io.BytesIO(encoded)) as image:
        plain = image.format == "JPEG" and image.mode in ("L", "RGB")
        return plain and image.getexif().get(_ORIENTATION, 1) == 1
