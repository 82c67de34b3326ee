"""Decode an examined image file to RGB, as a viewer displays it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickcut.errors import ImageError
from clickcut.image_file.parts import Parts, damaged
from clickcut.image_file.structure import ImageLimits, examine
from clickcut.image_file.tones import Window, over_white, shown, window_of

# `ImageLimits` is checked before decoding; Pillow's own limit would warn first and raise at a size
# that cannot be configured.
Image.MAX_IMAGE_PIXELS = None
Image.init()  # registers the formats now: threads would race for it at the first open


_REDUCED = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""Flags of the scale alone; with one of colour the result has colours."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, contiguous, as displayed.
        window: which sample values became 0 and 255; None when samples of 8 bits stay as they are.
    """

    pixels: NDArray[np.uint8]
    window: Window | None


def decode(
    data: bytes, limits: ImageLimits | None = None, window: Window | None = None
) -> NDArray[np.uint8]:
    """Decode an image file to RGB as a viewer displays it.

    EXIF rotation is applied, grey and palette images become RGB, transparent images are composed
    over white, CMYK is converted. Samples of more than 8 bits are stretched to their range; see
    `clickcut.image_file.tones.window_of`.

    Args:
        data: the encoded file.
        limits: what to accept; the defaults of `ImageLimits` when None.
        window: which sample values become 0 and 255, instead of the range of the samples.

    Returns:
        (H, W, 3) uint8, RGB, contiguous.

    Raises:
        ImageError: empty, too many bytes, not an image or of an unsupported format, too large
            (found from the header, before pixels are allocated), animated, of an unsupported
            pixel type, truncated or damaged.
    """
    return render(examine(data, limits), window).pixels


def render(image: Parts, window: Window | None = None) -> Decoded:
    """Decode an examined file.

    Args:
        image: the file.
        window: see `decode`.

    Raises:
        ImageError: of an unsupported pixel type, truncated or damaged.
    """
    with _named_errors(image):
        return _render(image, window)


def render_reduced(image: Parts, factor: int) -> NDArray[np.uint8]:
    """Decode an examined JPEG file of RGB or grey at a reduced scale, by its codec.

    Args:
        image: the file; it must be plain.
        factor: 2, 4 or 8.

    Returns:
        (ceil(H / factor), ceil(W / factor), 3) uint8, RGB, contiguous, as displayed.

    Raises:
        ImageError: truncated or damaged.
    """
    with _named_errors(image):
        shape = -(-image.height // factor), -(-image.width // factor), 3
        levels = _with_opencv(image, cv2.IMREAD_COLOR_RGB | _REDUCED[factor], shape)
        return _upright(np.asarray(levels, np.uint8), image.orientation)


@contextlib.contextmanager
def _named_errors(image: Parts) -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise _no_memory(image) from error
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise _no_memory(image) from error
        raise damaged(f"the {image.kind} data is wrong") from error
    except Exception as error:
        # Pillow raises many types of errors on damaged data: OSError, SyntaxError, KeyError,
        # struct.error, TypeError.
        text = str(error).splitlines() or [type(error).__name__]
        raise damaged(text[0][:200]) from error


def _render(image: Parts, window: Window | None) -> Decoded:
    if image.bits > 8:
        levels, window = _deep(image, window)
    else:
        levels = _plain(image) if image.plain else _with_pillow(image)
        if window is not None:
            levels = shown(levels, window)
    return Decoded(_upright(levels, image.orientation), window)


def _no_memory(image: Parts) -> ImageError:
    return ImageError(
        f"not enough memory to decode an image of {image.width} x {image.height} pixels"
    )


def _plain(image: Parts) -> NDArray[np.uint8]:
    return np.asarray(
        _with_opencv(image, cv2.IMREAD_COLOR_RGB, (image.height, image.width, 3)), np.uint8
    )


def _with_opencv(image: Parts, flags: int, shape: tuple[int, ...]) -> NDArray[Any]:
    pixels = cv2.imdecode(
        np.frombuffer(image.data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if pixels is None or pixels.shape[: len(shape)] != shape:
        raise damaged(f"the {image.kind} data ends too early or is wrong")
    return pixels


def _deep(image: Parts, window: Window | None) -> tuple[NDArray[np.uint8], Window]:
    """Grey levels (H, W, 3) of an image of more than 8 bits per sample, and their window."""
    stored = _samples(image)
    alpha = None
    if stored.ndim == 3 and stored.shape[2] == 4:
        if image.alpha != "ignored":
            alpha = _opacity(stored[:, :, 3])
        stored = stored[:, :, 0] if image.samples == 2 else stored[:, :, :3]
    elif image.colour_key >= 0:
        alpha = (stored != image.colour_key).astype(np.float32)
    if window is None:
        window = window_of(stored)
    levels = shown(stored, window, image.inverted)
    if levels.ndim == 2:
        levels = np.repeat(levels[:, :, None], 3, axis=2)
    if alpha is None:
        return levels, window
    return over_white(levels, alpha, image.alpha == "premultiplied"), window


def _samples(image: Parts) -> NDArray[Any]:
    """(H, W) or (H, W, C) as stored, RGB or RGBA."""
    stored = _with_opencv(image, cv2.IMREAD_UNCHANGED, (image.height, image.width))
    size = max(2, image.bits // 8)
    wanted = np.dtype(f"{image.sample_kind}{size}")
    if stored.dtype != wanted:
        if stored.dtype.kind not in "iu" or stored.dtype.itemsize != size or wanted.kind == "f":
            raise ImageError(
                f"{image.kind} images with {image.samples} samples of {image.bits} bits are not "
                "supported; convert to 8 bits per sample"
            )
        stored = stored.view(wanted)
    if image.bits in (10, 12, 14):  # OpenCV moves them to the upper end of 16 bits
        stored >>= 16 - image.bits
    if stored.ndim == 3:
        return stored[:, :, [2, 1, 0, 3][: stored.shape[2]]]
    return stored


def _opacity(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return the opacity, 0 to 1."""
    full = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
    share = np.nan_to_num(samples.astype(np.float32)) / np.float32(full)
    return np.asarray(np.clip(share, 0, 1), np.float32)


def _with_pillow(image: Parts) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(image.data), formats=(image.kind,)) as opened:
        if opened.size != (image.width, image.height):
            raise damaged(f"the size of the {image.kind} picture is not that of its header")
        if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
            raise ImageError(f"{image.kind} images of mode {opened.mode} are not supported")
        return _to_rgb(opened)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return a stored picture rotated and mirrored according to its EXIF orientation."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
