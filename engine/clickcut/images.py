"""A decoded image and what is computed once for it."""

from __future__ import annotations

import hashlib
import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.cut import EdgeWeights
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
        key: tells it from other images, and from the same file with another window asked for.
        edges: edge weights of the graph cut, filled in where they are needed.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        digest: str,
        window: Window | None = None,
        asked: Window | None = None,
    ) -> None:
        self.pixels = pixels
        self.digest = digest
        self.window = window
        self.key = key_of(digest, asked)
        self.edges = EdgeWeights(pixels)
        self._reduced: dict[tuple[int, int], EdgeWeights] = {(1, 1): self.edges}
        self._lock = threading.Lock()

    def edges_at(self, factor: int, coarser: int = 1) -> EdgeWeights:
        """Edge weights of the image reduced by a whole factor, and the result by another one.

        Where a size is no multiple, the last pixels are repeated.
        """
        if factor == 1:
            factor, coarser = coarser, 1
        source, by = self.pixels, factor
        if coarser > 1:  # much faster than from a large photograph, and as good
            source, by = self.edges_at(factor).image, coarser
        with self._lock:
            key = factor, coarser
            if key not in self._reduced:
                self._reduced[key] = EdgeWeights(_mean_of_blocks(source, by))
            return self._reduced[key]

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
        held = list(self._reduced.items())
        small = sum(edges.image.nbytes for key, edges in held if key != (1, 1))
        return self.pixels.nbytes + small + sum(edges.nbytes for _, edges in held)


def _mean_of_blocks(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The image with one pixel for each block of `side` x `side`; the last ones may be smaller."""
    height, width = -(-pixels.shape[0] // side), -(-pixels.shape[1] // side)
    below, beside = height * side - pixels.shape[0], width * side - pixels.shape[1]
    if below or beside:
        pixels = np.asarray(
            cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8
        )
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def digest_of(data: bytes) -> str:
    """SHA-256 of an encoded file: 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def key_of(digest: str, window: Window | None) -> str:
    """What tells an image file, seen through a window that was asked for, from others."""
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
    return PreparedImage(decoded.pixels, digest_of(data), decoded.window, window)


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
