"""The result of the readers of formats, and helpers that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clickcut.errors import ImageError

Order = Literal["little", "big"]
"""Byte order."""

Alpha = Literal["ignored", "premultiplied", "straight"]
"""Meaning of a fourth sample (or the second one of grey)."""

_PLAIN_BYTES, _SCANS_BYTES, _DEEP_BYTES, _PILLOW_BYTES = 7, 9, 18, 22
"""Per pixel, measured and rounded up: RGB and its turned copy; the coefficients of a JPEG of many
scans; the copies on the way from more bits, and from other kinds, to RGB."""
_BASE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Parts:
    """An image file reduced to what decoding needs.

    Metadata, previews and further pictures are left out: decoding them would take unbounded time
    and memory.

    Attributes:
        kind: one of `clickcut.image_file.FORMATS`.
        width: as stored, pixels.
        height: as stored, pixels.
        data: the file without them.
        orientation: of EXIF, 1 to 8; how the stored picture is rotated for display.
        light: whether native code decodes it in time proportional to pixels and bytes; what is not
            light may take longer than its size suggests.
        plain: whether it holds RGB or grey of 8 bits and nothing else, which OpenCV decodes as
            Pillow does, but twice as fast and with less memory.
        bits: per sample.
        samples: per pixel; 0 when only the decoder knows.
        sample_kind: as in NumPy: "u" unsigned, "i" signed, "f" floating-point.
        inverted: of more than 8 bits: the lowest value is white.
        alpha: what the last sample means.
        colour_key: of 16-bit grey: the value that is transparent; -1 for none.
    """

    kind: str
    width: int
    height: int
    data: bytes
    orientation: int = 1
    light: bool = True
    plain: bool = False
    bits: int = 8
    samples: int = 0
    sample_kind: Literal["u", "i", "f"] = "u"
    inverted: bool = False
    alpha: Alpha = "straight"
    colour_key: int = -1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the decoded array after rotation, (H, W, 3)."""
        turned = self.orientation >= 5
        return (self.width, self.height, 3) if turned else (self.height, self.width, 3)

    @property
    def decode_bytes(self) -> int:
        """Peak memory of decoding in bytes, with the result and without the file."""
        stored = max(self.samples, 1) * -(-self.bits // 8)
        per_pixel = _PILLOW_BYTES
        if self.plain:
            per_pixel = _PLAIN_BYTES if self.light else _PLAIN_BYTES + _SCANS_BYTES
        elif self.bits > 8:
            per_pixel = 2 * stored + _DEEP_BYTES
        return self.width * self.height * per_pixel + len(self.data) + _BASE_BYTES


def damaged(why: str) -> ImageError:
    """Return the error for an inconsistent file."""
    return ImageError(f"the image is truncated or damaged: {why}")


def animated(kind: str) -> ImageError:
    """Return the error for a file with several pictures."""
    return ImageError(f"animated or multi-page {kind} images are not supported; send one frame")


def number(data: bytes, at: int, size: int, order: Order = "big") -> int:
    """Return an unsigned integer of `size` bytes.

    Raises:
        ImageError: the data ends before.
    """
    if at < 0 or at + size > len(data):
        raise damaged("it ends too early")
    return int.from_bytes(data[at : at + size], order)
