"""Find the format and size of an image file and check its limits, before decoding."""

from __future__ import annotations

from dataclasses import dataclass

from clickcut.errors import ImageError
from clickcut.image_file import bmp, gif, jpeg, png, tiff, webp
from clickcut.image_file.parts import Parts

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_SUPPORTED = "JPEG, PNG, WebP, BMP, TIFF or a single-frame GIF"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits of accepted images.

    Attributes:
        max_bytes: maximum size of the encoded file.
        max_pixels: maximum width x height; a pixel takes about 3 bytes, and up to 20 where clicks
            are made.
        max_side: maximum width or height, in pixels.
    """

    max_bytes: int = 128 * 2**20
    max_pixels: int = 100_000_000
    max_side: int = 32_000


def examine(data: bytes, limits: ImageLimits | None = None) -> Parts:
    """Examine an image file without decoding it.

    Takes time at most proportional to the bytes, and memory for a copy of the file.

    Args:
        data: the encoded file.
        limits: what to accept; the defaults of `ImageLimits` when None.

    Raises:
        ImageError: empty, too many bytes, not an image or of an unsupported format, too large,
            animated, truncated or damaged.
    """
    limits = limits or ImageLimits()
    if not data:
        raise ImageError("the image is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageError(
            f"the file has {len(data):,} bytes; at most {limits.max_bytes:,} are taken"
        )
    if data.startswith(png.START):  # check the size first, of truncated files too
        _check_size(*png.size_of(data), limits)
    found = _read(data)
    _check_size(found.width, found.height, limits)
    return found


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise ImageError(
            f"the image is {width} x {height} pixels; at most {limits.max_pixels:,} pixels and "
            f"{limits.max_side:,} on a side are taken: scale it down"
        )


def _read(data: bytes) -> Parts:
    if data.startswith(jpeg.START):
        return jpeg.read(data)
    if data.startswith(png.START):
        return png.read(data)
    if webp.is_webp(data):
        return webp.read(data)
    if data.startswith(gif.STARTS):
        return gif.read(data)
    if data.startswith(tiff.STARTS):
        return tiff.read(data)
    if data.startswith(bmp.START):
        return bmp.read(data)
    raise ImageError(f"not an image that can be read; send {_SUPPORTED}")
