"""Read the chunks of a WebP file."""

from __future__ import annotations

from clickcut.errors import ImageError
from clickcut.image_file.exif import orientation_of, orientation_of_xmp
from clickcut.image_file.parts import Parts, animated, damaged, number

_MAX_CHUNKS = 4096


def is_webp(data: bytes) -> bool:
    """Return whether a file starts like a WebP file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read(data: bytes) -> Parts:
    """Check the chunks of a WebP file; libwebp reads the whole file.

    Raises:
        ImageError: damaged, or animated.
    """
    end = min(len(data), 8 + number(data, 4, 4, "little"))
    canvas: tuple[int, int] | None = None
    frames, orientation, at = 0, 1, 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > end:
            break
        name, size = data[at : at + 4], number(data, at + 4, 4, "little")
        body = at + 8
        if name == b"VP8X":
            canvas = (
                1 + number(data, body + 4, 3, "little"),
                1 + number(data, body + 7, 3, "little"),
            )
        elif name in (b"VP8 ", b"VP8L") and canvas is None:
            canvas = _size_of(data, body, name)
        elif name == b"ANMF":
            frames += 1
            if frames > 1:
                raise animated("WEBP")
        elif name == b"EXIF":
            orientation = orientation_of(data[body : body + size])
        elif name == b"XMP " and orientation == 1:
            orientation = orientation_of_xmp(data[body : body + size])
        at = body + size + size % 2
    else:
        raise ImageError(
            f"a WebP file with more than {_MAX_CHUNKS} chunks is not supported; save it again"
        )
    if canvas is None:
        raise damaged("the WebP file holds no picture")
    return Parts("WEBP", *canvas, data, orientation)


def _size_of(data: bytes, at: int, name: bytes) -> tuple[int, int]:
    if name == b"VP8 ":
        return number(data, at + 6, 2, "little") & 0x3FFF, number(
            data, at + 8, 2, "little"
        ) & 0x3FFF
    both = number(data, at + 1, 4, "little")
    return (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
