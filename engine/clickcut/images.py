"""A decoded image and what is computed once for it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from clickcut.cut import EdgePyramid, EdgeWeights
from clickcut.cut.region_cut import reduction_factor
from clickcut.errors import ImageError
from clickcut.image_file import ImageLimits, Window, decode, examine
from clickcut.image_file.lazy import open_lazily
from clickcut.region import Region
from clickcut.scales import Scales

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
        scales: the pixels, as displayed (EXIF rotation applied).
        digest: SHA-256 of the encoded file, hex.
        window: which sample values became 0 and 255; None for samples of 8 bits as they are.
        key: identifies the image among those that are held.
        pyramid: edge weights of the graph cut, filled in where they are needed.
        estimated_sigma: sigma of the contrast term as estimated from the image, grey levels. Of an
            image that was decoded reduced: as the cut of the whole image uses it.
    """

    def __init__(
        self,
        scales: Scales,
        digest: str,
        window: Window | None = None,
        key: str = "",
    ) -> None:
        self.scales = scales
        self.digest = digest
        self.window = window
        self.key = key or digest
        self.pyramid = EdgePyramid(scales)
        whole = Region(0, 0, scales.width, scales.height)
        factor = 1 if scales.reduced is None else reduction_factor(whole)
        self.estimated_sigma = self.pyramid.at(factor).sigma

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """All pixels, (H, W, 3) uint8, RGB, as displayed; decoded now if they have not been.

        Raises:
            ImageError, BusyError: see `Scales.full`.
        """
        return self.scales.full

    @property
    def edges(self) -> EdgeWeights:
        """Edge weights at full resolution."""
        return self.pyramid.at(1)

    @property
    def width(self) -> int:
        """Columns."""
        return self.scales.width

    @property
    def height(self) -> int:
        """Rows."""
        return self.scales.height

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

    A large JPEG file is decoded at a reduced scale, and in full when that is needed; see
    `clickcut.image_file.lazy`.

    Args:
        data: the encoded file.
        limits: what to accept; the defaults of `ImageLimits` when None.
        window: which sample values become 0 and 255; None for those that `decode` chooses.

    Raises:
        ImageError: see `decode`.
    """
    opened = open_lazily(examine(data, limits), window)
    digest = digest_of(data)
    return PreparedImage(opened.scales, digest, opened.window, key_of(digest, window))


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
    return PreparedImage(
        Scales.of(pixels), digest_of(str(pixels.shape).encode() + pixels.tobytes())
    )
