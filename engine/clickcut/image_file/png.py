"""Read the chunks of a PNG file."""

from __future__ import annotations

import zlib

from clickcut.errors import ImageError
from clickcut.image_file.exif import orientation_of, orientation_of_xmp
from clickcut.image_file.parts import Parts, animated, damaged, number

START = b"\x89PNG\r\n\x1a\n"

_MAX_CHUNKS = 2**17
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type."""
_GREY, _RGB = 0, 2
_END = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height from the header, pixels.

    Raises:
        ImageError: the header is missing.
    """
    if data[8:16] != b"\0\0\0\rIHDR":
        raise damaged("the PNG header is missing")
    return number(data, 16, 4), number(data, 20, 4)


def read(data: bytes, transparency: bool = True) -> Parts:
    """Find the chunks of a PNG file that decoding needs.

    Args:
        data: the file.
        transparency: whether colours or palette entries that are transparent matter.

    Raises:
        ImageError: damaged, or animated.
    """
    (width, height), bits, colour = size_of(data), number(data, 24, 1), number(data, 25, 1)
    if colour not in _SAMPLES or not width or not height:
        raise damaged("the PNG header is wrong")
    kept, begin = [], 0  # ranges of bytes; those from `begin` on are not in the list yet
    wanted = {b"PLTE", b"tRNS"} if transparency else {b"PLTE"}
    orientation, pixels, transparent, at = 1, False, b"", 33
    for _ in range(_MAX_CHUNKS):
        size, name = number(data, at, 4), data[at + 4 : at + 8]
        end = at + 12 + size
        if end > len(data):
            raise damaged("a PNG chunk ends too early")
        if name == b"acTL" and number(data, at + 8, 4) > 1:
            raise animated("PNG")
        if name == b"eXIf":
            orientation = orientation_of(data[at + 8 : end - 4])
        elif name == b"iTXt" and data[at + 8 : at + 25] == b"XML:com.adobe.xmp":
            if orientation == 1:
                orientation = orientation_of_xmp(data[at + 8 : end - 4])
        elif name == b"IHDR":
            raise damaged("a PNG file has one header")
        if name == b"IEND":
            kept.append(data[begin:at])
            break
        if not (name == b"IDAT" or (name in wanted and not pixels)):
            kept.append(data[begin:at])
            begin = end
        elif name == b"tRNS":
            transparent = data[at + 8 : end - 4]
        pixels |= name == b"IDAT"
        at = end
    else:
        raise ImageError(
            f"a PNG file with more than {_MAX_CHUNKS} chunks is not supported; save it again"
        )
    lean = b"".join((*kept, _END))
    return Parts(
        "PNG",
        width,
        height,
        lean,
        orientation,
        plain=bits == 8 and colour in (_GREY, _RGB) and not transparent,
        bits=bits,
        samples=_SAMPLES[colour],
        colour_key=number(transparent, 0, 2) if transparent and colour == _GREY else -1,
    )
