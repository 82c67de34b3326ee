"""Encoded bytes -> pixels, checked once: kind, size, limits, before anything is allocated."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clickcut.cut import EdgeWeights
from clickcut.errors import ImageError

# The limit below is ours, named in our messages and checked before decoding; Pillow's own would
# warn first and raise at a size that we cannot configure.
Image.MAX_IMAGE_PIXELS = None
Image.init()  # registers the formats; left to the first open, threads would race for it

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_SUPPORTED = "JPEG, PNG, WebP, BMP, TIFF or a single-frame GIF"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is accepted from outside.

    Attributes:
        max_bytes: largest encoded file.
        max_pixels: largest width x height; a pixel costs about 3 bytes, and up to 20 where clicks
            are made.
        max_side: largest width or height, in pixels.
    """

    max_bytes: int = 128 * 2**20
    max_pixels: int = 100_000_000
    max_side: int = 32_000


class PreparedImage:
    """A decoded image and what is computed once for it; shared by all sessions on it.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, as displayed (EXIF rotation applied).
        digest: SHA-256 of the encoded file, hex.
        edges: edge weights of the graph cut, filled in where they are needed.
    """

    def __init__(self, pixels: NDArray[np.uint8], digest: str) -> None:
        self.pixels = pixels
        self.digest = digest
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


def prepare(data: bytes, limits: ImageLimits | None = None) -> PreparedImage:
    """Decode an image file and prepare it for sessions.

    Raises:
        ImageError: see `decode`.
    """
    return PreparedImage(decode(data, limits), digest_of(data))


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


def decode(data: bytes, limits: ImageLimits | None = None) -> NDArray[np.uint8]:
    """Decode an image file to RGB as a viewer displays it.

    EXIF rotation is applied, grey and palette images become RGB, 16-bit grey keeps its upper
    8 bits, transparency is laid over white, CMYK is converted.

    Args:
        data: the encoded file.
        limits: what to accept; the defaults of `ImageLimits` when None.

    Returns:
        (H, W, 3) uint8, RGB, contiguous.

    Raises:
        ImageError: empty, too many bytes, not an image or of an unsupported format, too large
            (found from the header, before pixels are allocated), animated, of an unsupported
            pixel type, truncated or damaged.
    """
    limits = limits or ImageLimits()
    if not data:
        raise ImageError("the image is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageError(
            f"the file has {len(data):,} bytes; at most {limits.max_bytes:,} are taken"
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, limits)
            return _to_rgb(image)
    except UnidentifiedImageError as error:
        raise ImageError(f"not an image that can be read; send {_SUPPORTED}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow's decoders raise these for damaged data (SyntaxError: a broken PNG chunk).
        raise ImageError(f"the image is truncated or damaged: {error}") from error


def _check_header(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise ImageError(
            f"the image is {width} x {height} pixels; at most {limits.max_pixels:,} pixels and "
            f"{limits.max_side:,} on a side are taken: scale it down"
        )
    # A phone's MPO file is a JPEG followed by previews; its first picture is the photograph.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ImageError(
            f"animated or multi-page {image.format} images are not taken; send one frame"
        )
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{image.format} images with 32-bit pixels (mode {image.mode}) are not taken; "
            "convert to 8 bits per channel"
        )


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        grey = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.new("RGBA", layer.size, "white")
        upright.alpha_composite(layer)
    return np.array(upright.convert("RGB"))
