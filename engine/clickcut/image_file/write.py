"""Write pictures to files. OpenCV encodes in memory, Python writes.

A path never reaches OpenCV: a name that is not valid Unicode ends the process inside its bindings.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.errors import ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Supported suffixes."""


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture to a file in the format of its suffix.

    Args:
        path: of the file.
        pixels: (H, W, 3) uint8 RGB, or (H, W) uint8 grey.

    Raises:
        ImageError: unknown suffix, or the file cannot be written.
    """
    check_name(path)
    ordered = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(ordered))
    if not done:
        raise ImageError(f"{path}: a picture of shape {pixels.shape} cannot be written like this")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror})") from error


def check_name(path: Path) -> None:
    """Check the suffix of a file name, before any work is done.

    Raises:
        ImageError: unknown suffix.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path}: the name must end in one of {' '.join(SUFFIXES)}")
