"""Read or encode the image of a client for sending."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.errors import ImageError
from clickcut.image_file import Window
from clickcut.v1 import clickcut_pb2 as pb

ImageSource = str | os.PathLike[str] | bytes | NDArray[np.uint8]
"""A path, the bytes of an image file, or pixels (H, W, 3) uint8 RGB."""

WindowLike = tuple[float, float]
"""Which sample values become 0 and 255: low, high."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image file.

    Attributes:
        data: its bytes.
        digest: their SHA-256, hex.
        window: which sample values become 0 and 255; None to leave it to the server.
    """

    data: bytes
    digest: str
    window: pb.Window | None = None

    @property
    def routing_key(self) -> str:
        """Key of requests that need this image and no session; see `routing_metadata`."""
        return self.digest[:16]

    @staticmethod
    def of(source: ImageSource, window: WindowLike | None = None) -> Picture:
        """Read or encode an image; pixels become a PNG.

        Raises:
            ImageError: a file that cannot be read, an array that is not (H, W, 3) uint8, or an
                impossible window.
        """
        checked = None
        if window is not None:
            ends = window_from(window)
            checked = pb.Window(low=ends.low, high=ends.high)
        data = _bytes_of(source)
        return Picture(data, hashlib.sha256(data).hexdigest(), checked)


def window_from(ends: WindowLike) -> Window:
    """Return the window with the given ends.

    Raises:
        ImageError: not two numbers, not finite, or `high` is not above `low`.
    """
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError) as error:
        raise ImageError(f"a window is two numbers, low and high, got {ends!r}") from error
    return Window(low, high)


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
