"""Read the orientation of a picture from its EXIF data or XMP packet.

Pillow's reader keeps the value of every tag, and a directory may point 65,535 tags at the same
megabytes; here one tag is searched for and nothing is stored.
"""

from __future__ import annotations

import re

from clickcut.image_file.parts import Order

_ORIENTATION = 0x0112
_SHORT = 3
_MAX_ENTRIES = 4096
_XMP = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")
_XMP_BYTES = 2**20


def orientation_of(blob: bytes) -> int:
    """Return the orientation in EXIF data, which start with a TIFF header: 1 to 8, 1 if unknown."""
    blob = blob.removeprefix(b"Exif\0\0")
    if blob[:2] not in (b"II", b"MM"):
        return 1
    order: Order = "little" if blob[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(blob[at : at + size], order)

    directory = number(4, 4)
    for k in range(min(number(directory, 2), _MAX_ENTRIES)):
        entry = directory + 2 + 12 * k
        if number(entry, 2) == _ORIENTATION and number(entry + 2, 2) == _SHORT:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1


def orientation_of_xmp(packet: bytes) -> int:
    """Return the orientation in an XMP packet: 1 to 8, 1 if unknown."""
    found = _XMP.search(packet, 0, _XMP_BYTES)
    return int(found[1]) if found else 1
