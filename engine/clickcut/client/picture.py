"""An image as a client gives it -> the encoded file that travels."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.errors import ImageError

ImageSource = str | os.PathLike[str] | bytes | NDArray[np.uint8]
"""A path, the bytes of an image file, or pixels (H, W, 3) uint8 RGB."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image file.

    Attributes:
        data: its bytes.
        digest: their SHA-256, hex.
    """

    data: bytes
    digest: str

    @staticmethod
    def of(source: ImageSource) -> Picture:
        """Read or encode an image; pixels become a PNG.

        Raises:
            ImageError: a file that cannot be read, or an array that is not (H, W, 3) uint8.
        """
        data = _bytes_of(source)
        return Picture(data, hashlib.sha256(data).hexdigest())


def _bytes_of(source: ImageSource) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, np.ndarray):
        return _png(source)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(
            "an image is a path, the bytes of a file, or an (H, W, 3) uint8 array; got "
            f"{type(source).__name__}"
        )
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ImageError(f"{source}: cannot be read ({error.strerror})") from error


def _png(pixels: NDArray[np.uint8]) -> bytes:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ImageError(
            f"expected an (H, W, 3) uint8 RGB array, got shape {pixels.shape}, dtype {pixels.dtype}"
        )
    fast = (cv2.IMWRITE_PNG_COMPRESSION, 1)
    ok, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), fast)
    if not ok:
        raise ImageError(f"an array of shape {pixels.shape} could not be written as PNG")
    return data.tobytes()
