"""A decoded image and what is computed once for it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from clickcut.cut import EdgePyramid, EdgeWeights
from clickcut.errors import ImageError
from clickcut.image_file import ImageLimits, Window, decode, examine, render

__all__ = [
    "ImageLimits",
    "PreparedImage",
    "Window",
    "decode",
    "digest_of",
    "key_of",
    "prepare",
    "prepare_pixels",
]


class PreparedImage:
    """A decoded image and what is computed once for it; shared by all sessions on it.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, as displayed (EXIF rotation applied).
        digest: SHA-256 of the encoded file, hex.
        window: which sample values became 0 and 255; None for samples of 8 bits as they are.
        key: identifies the image among those that are held.
        pyramid: edge weights of the graph cut, filled in where they are needed.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        digest: str,
        window: Window | None = None,
        key: str = "",
    ) -> None:
        self.pixels = pixels
        self.digest = digest
        self.window = window
        self.key = key or digest
        self.pyramid = EdgePyramid(pixels)

    @property
    def edges(self) -> EdgeWeights:
        """Edge weights at full resolution."""
        return self.pyramid.at(1)

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self.pyramid.nbytes


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of an encoded file: 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def key_of(digest: str, window: Window | None) -> str:
    """Return the key of an image file decoded with a requested window."""
    return digest if window is None else f"{digest} {window.low!r} {window.high!r}"


def prepare(
    data: bytes, limits: ImageLimits | None = None, window: Window | None = None
) -> PreparedImage:
    """Decode an image file and prepare it for sessions.

    Args:
        data: the encoded file.
        limits: what to accept; the defaults of `ImageLimits` when None.
        window: which sample values become 0 and 255; None for those that `decode` chooses.

    Raises:
        ImageError: see `decode`.
    """
    decoded = render(examine(data, limits), window)
    digest = digest_of(data)
    return PreparedImage(decoded.pixels, digest, decoded.window, key_of(digest, window))


def prepare_pixels(pixels: NDArray[np.uint8]) -> PreparedImage:
    """Prepare an image that is in memory already: (H, W, 3) uint8, RGB.

    Raises:
        ImageError: another shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ImageError(
            f"expected an (H, W, 3) uint8 RGB array, got shape {pixels.shape}, dtype {pixels.dtype}"
        )
    pixels = np.ascontiguousarray(pixels)
    return PreparedImage(pixels, digest_of(str(pixels.shape).encode() + pixels.tobytes()))
