"""An examined image file -> RGB as a viewer displays it."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickcut.errors import ImageError
from clickcut.image_file import png
from clickcut.image_file.parts import Parts, damaged
from clickcut.image_file.structure import ImageLimits, examine

# The limit is ours, named in our messages and checked before decoding; Pillow's own would warn
# first and raise at a size that we cannot configure.
Image.MAX_IMAGE_PIXELS = None
Image.init()  # registers the formats; left to the first open, threads would race for it


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
    return render(examine(data, limits))


def render(image: Parts) -> NDArray[np.uint8]:
    """Decode an examined file.

    Returns:
        (H, W, 3) uint8, RGB, contiguous.

    Raises:
        ImageError: of an unsupported pixel type, truncated or damaged.
    """
    try:
        pixels = _with_opencv(image) if _is_plain(image) else _with_pillow(image)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(
            f"not enough memory to decode an image of {image.width} x {image.height} pixels"
        ) from error
    except Exception as error:
        # The decoders raise whatever comes up on damaged data: OSError, SyntaxError, KeyError,
        # struct.error, TypeError, cv2.error.
        text = str(error).splitlines() or [type(error).__name__]
        raise damaged(text[0][:200]) from error
    return _upright(pixels, image.orientation)


def _is_plain(image: Parts) -> bool:
    """Whether OpenCV decodes it, as Pillow does but twice as fast and with half the memory."""
    if image.kind == "JPEG":
        return image.samples in (1, 3)
    return (
        image.kind == "PNG"
        and image.bits == 8
        and image.samples in (1, 3)
        and not png.has_chunk(image, b"PLTE")
        and not png.has_chunk(image, b"tRNS")
    )


def _with_opencv(image: Parts) -> NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), flags)
    if pixels is None or pixels.shape != (image.height, image.width, 3):
        raise damaged(f"the {image.kind} data ends too early or is wrong")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), np.uint8)


def _with_pillow(image: Parts) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(image.data), formats=(image.kind,)) as opened:
        if opened.size != (image.width, image.height):
            raise damaged(f"the size of the {image.kind} picture is not that of its header")
        if opened.mode in ("I", "F"):
            raise ImageError(
                f"{image.kind} images with 32-bit pixels (mode {opened.mode}) are not taken; "
                "convert to 8 bits per channel"
            )
        return _to_rgb(opened)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A stored picture turned and mirrored as its EXIF orientation says."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
