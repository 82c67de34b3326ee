"""Read the blocks of a GIF file."""

from __future__ import annotations

from clickcut.errors import ImageError
from clickcut.image_file.parts import Parts, animated, damaged, number

STARTS = (b"GIF87a", b"GIF89a")

_MAX_BLOCKS = 2**20
_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_GRAPHIC_CONTROL = 0xF9


def read(data: bytes) -> Parts:
    """Find the picture of a GIF file, and check that it is the only one.

    Raises:
        ImageError: damaged, or animated.
    """
    width, height = number(data, 6, 2, "little"), number(data, 8, 2, "little")
    at = 13 + _palette_bytes(number(data, 10, 1))
    start, control, image = data[:at], b"", b""
    blocks = 0
    while at < len(data) and data[at] != _END:
        kind, begin = data[at], at
        if kind == _IMAGE:
            if image:
                raise animated("GIF")
            box = [number(data, at + k, 2, "little") for k in (1, 3, 5, 7)]
            width, height = max(width, box[0] + box[2]), max(height, box[1] + box[3])
            at += 11 + _palette_bytes(number(data, at + 9, 1))  # and the code size
        elif kind == _EXTENSION:
            at += 2
        elif image:  # garbage after the picture
            break
        else:
            raise damaged("a GIF block of an unknown kind")
        at, passed = _after_blocks(data, at)
        blocks += passed + 1
        if blocks > _MAX_BLOCKS:
            raise ImageError(
                "a GIF file with more than a million blocks is not supported; save it again"
            )
        if kind == _IMAGE:
            image = data[begin:at]
        elif data[begin + 1] == _GRAPHIC_CONTROL and not image:
            control = data[begin:at]
    if not image:
        raise damaged("the GIF file holds no picture")
    return Parts("GIF", width, height, b"".join((start, control, image, bytes([_END]))))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> tuple[int, int]:
    """Return the end of a chain of sub-blocks, and their number; it may be cut off."""
    passed = 0
    while at < len(data) and data[at]:
        at += 1 + data[at]
        passed += 1
        if passed > _MAX_BLOCKS:
            break
    return min(at + 1, len(data)), passed
