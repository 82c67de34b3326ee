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
_INFLATES = 1032
"""Bytes that one byte of Deflate can become (https://zlib.net/zlib_tech.html)."""
_INFLATED, _SURPLUS = 2**28, 2**20
"""Bytes that are inflated unseen, a second's work; bytes beyond the pixels that are ignored."""
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
    orientation, transparent, at = 1, b"", 33
    pixels: list[slice] = []
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
        if name == b"IDAT":
            pixels.append(slice(at + 8, end - 4))
        at = end
    else:
        raise ImageError(
            f"a PNG file with more than {_MAX_CHUNKS} chunks is not supported; save it again"
        )
    row = 1 + -(-width * bits * _SAMPLES[colour] // 8)
    _check_pixels(data, pixels, height * (row + 4))  # interlaced, there are more and shorter rows
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


def _check_pixels(data: bytes, pieces: list[slice], expected: int) -> None:
    """Check that compressed pixels do not go on far beyond the picture: libpng would read them all.

    Args:
        data: the file.
        pieces: of the compressed pixels.
        expected: bytes of the pixels.

    Raises:
        ImageError: they do.
    """
    size = sum(piece.stop - piece.start for piece in pieces)
    if size * _INFLATES <= max(3 * expected, _INFLATED):
        return
    stream = zlib.decompressobj()
    left = expected + _SURPLUS
    view = memoryview(data)
    for piece in pieces:
        waiting: bytes | memoryview = view[piece]
        while len(waiting) and not stream.eof:
            try:
                left -= len(stream.decompress(waiting, 2**20))
            except zlib.error:
                return  # the decoder will say so
            if left < 0:
                raise damaged("the PNG file holds more data than its picture needs")
            waiting = stream.unconsumed_tail
