"""What a format's reader finds in a file, and what the readers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clickcut.errors import ImageError

Order = Literal["little", "big"]
"""Which byte of a number comes first."""

_LIGHT_BYTES, _HEAVY_BYTES = 12, 18
"""Per pixel: what the decoders hold (up to 8 bytes), and the copies on the way to RGB."""
_BASE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Parts:
    """An image file without what is not needed to decode it.

    Metadata, previews and further pictures are left out: a decoder would spend time and memory on
    them that no limit of ours bounds.

    Attributes:
        kind: one of `clickcut.image_file.FORMATS`.
        width: as stored, pixels.
        height: as stored, pixels.
        data: the file without them.
        orientation: of EXIF, 1 to 8; how the stored picture has to be turned.
        light: whether native code decodes it in time proportional to pixels and bytes; what is not
            light may take longer than its size suggests.
        bits: per sample.
        samples: per pixel; 0 when only the decoder knows.
        signed: samples are signed integers.
        real: samples are floating-point numbers.
        inverted: 0 is white, and the decoder does not know.
    """

    kind: str
    width: int
    height: int
    data: bytes
    orientation: int = 1
    light: bool = True
    bits: int = 8
    samples: int = 0
    signed: bool = False
    real: bool = False
    inverted: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the decoded array, (H, W, 3), once it is turned."""
        turned = self.orientation >= 5
        return (self.width, self.height, 3) if turned else (self.height, self.width, 3)

    @property
    def decode_bytes(self) -> int:
        """Bytes that decoding takes at its peak, the result included and the file not."""
        stored = max(self.samples, 1) * -(-self.bits // 8)
        per_pixel = _LIGHT_BYTES if self.light else _HEAVY_BYTES + 2 * stored
        return self.width * self.height * per_pixel + len(self.data) + _BASE_BYTES


def damaged(why: str) -> ImageError:
    """The error for a file that its own structure contradicts."""
    return ImageError(f"the image is truncated or damaged: {why}")


def animated(kind: str) -> ImageError:
    """The error for a file with several pictures."""
    return ImageError(f"animated or multi-page {kind} images are not taken; send one frame")


def number(data: bytes, at: int, size: int, order: Order = "big") -> int:
    """An unsigned integer of `size` bytes.

    Raises:
        ImageError: the data ends before.
    """
    if at < 0 or at + size > len(data):
        raise damaged("it ends too early")
    return int.from_bytes(data[at : at + size], order)
