"""Holes in JPEG files: stretches of zero bytes where a disk or a transfer lost data.

A decoder does not notice them: zero bits are valid codes. The picture below the hole is shifted and
has wrong colours, while its mask is right, which teaches a network nonsense.
"""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""What ends the data of a scan; FF 00 and FF D0 to FF D7 are part of it."""

_LONGEST = 31
"""Zero bytes that whole files can have in a row: where the all-zero code stands for a coefficient,
one more would be 85 coefficients of -1 in a row."""
_LONGEST_REFINING = 255
"""The same in scans that refine coefficients by a bit each: libjpeg writes at most 1,000 such bits
between two codes."""

_DHT, _SOS = 0xC4, 0xDA
_SEQUENTIAL, _PROGRESSIVE = {0xC0, 0xC1}, 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TABLE_HEAD = 17
_BRIGHTNESS_AC = 0x10
"""Class and number of the table that decides: blocks of brightness lie between those of colour."""


def has_hole(data: bytes) -> bool:
    """Return whether a JPEG file has a hole in its picture data.

    Only scans are judged where long runs of zero bits are impossible: elsewhere zero bytes can
    stand for an even background.

    Args:
        data: a file that decodes; others give False.
    """
    at, frame, tables = 2, 0, b""
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        segment = data[at + 4 : at + 2 + size]
        at += 2 + size
        if marker in _FRAMES:
            frame = marker
        elif marker == _DHT:
            tables += segment
        elif marker == _SOS:
            following = _MARKER.search(data, at)
            end = following.start() if following else len(data)
            longest = _longest_run(frame, segment, tables)
            if longest is not None and data.find(bytes(longest + 1), at, end) >= 0:
                return True
            at = end
    return False


def _longest_run(frame: int, scan: bytes, tables: bytes) -> int | None:
    """How many zero bytes in a row a whole scan can have; None: any number.

    Args:
        frame: the marker that says how the picture is coded.
        scan: its header: number of components, two bytes for each, first and last coefficient,
            bits known before and after.
        tables: all Huffman tables so far.
    """
    if frame in _SEQUENTIAL:
        return None if _zeros_are_even(tables) else _LONGEST
    if frame != _PROGRESSIVE or len(scan) < 6:
        return None
    first, bits_before = scan[-3], scan[-1] >> 4
    if first == 0:  # means, alone; in an even picture all differences are zero
        return None
    # Even blocks are counted, not written one by one: no picture needs long runs of zeros.
    return _LONGEST_REFINING if bits_before else _LONGEST


def _zeros_are_even(tables: bytes) -> bool:
    """Whether the brightness' table gives its all-zero code to "no further coefficients"."""
    while len(tables) >= _TABLE_HEAD:
        count = sum(tables[1:_TABLE_HEAD])
        values = tables[_TABLE_HEAD : _TABLE_HEAD + count]
        of_brightness = tables[0] == _BRIGHTNESS_AC
        # Codes are handed out in order: the first value has the all-zero code. Its lower four
        # bits are the size of the coefficient; size 0 is the end of the block or a run of zeros.
        if of_brightness and values and values[0] & 0x0F == 0:
            return True
        tables = tables[_TABLE_HEAD + count :]
    return False
