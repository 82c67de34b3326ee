"""Read the header of a BMP file."""

from __future__ import annotations

from clickcut.image_file.parts import Parts, damaged, number

START = b"BM"

_OLD_HEADER = 12
_RUN_LENGTHS = {1, 2}


def read(data: bytes) -> Parts:
    """Read the header of a BMP file, which contains nothing but pixels.

    Raises:
        ImageError: damaged.
    """
    header = number(data, 14, 4, "little")
    if header == _OLD_HEADER:
        width, height = number(data, 18, 2, "little"), number(data, 20, 2, "little")
        compression = 0
    else:
        width, height = number(data, 18, 4, "little"), number(data, 22, 4, "little")
        compression = number(data, 30, 4, "little")
        height = min(height, 2**32 - height)  # a negative height means rows from top to bottom
    if not width or not height:
        raise damaged("the BMP file has no size")
    # Pillow decodes run lengths in Python.
    return Parts("BMP", width, height, data, light=compression not in _RUN_LENGTHS)
