"""Holes in JPEG files: stretches of zero bytes where a disk or a transfer lost data.

A decoder does not notice them: zero bits are valid codes. The picture below the hole is shifted and
has wrong colours, while its mask is right, which teaches a network nonsense.
"""

from __future__ import annotations

import re

_HOLE = re.compile(rb"\0{32,}")
"""Where the all-zero code stands for a coefficient, this is 85 coefficients of -1 in a row."""

_DHT, _SOS = 0xC4, 0xDA
_BASELINE = {0xC0, 0xC1}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TABLE_HEAD = 17
_BRIGHTNESS_AC = 0x10
"""Class and number of the table that decides: blocks of brightness lie between those of colour."""


def has_hole(data: bytes) -> bool:
    """Return whether a JPEG file has a hole in its picture data.

    Only sequential files are judged whose tables make long runs of zero bits impossible: elsewhere
    zero bytes can stand for an even background.

    Args:
        data: a file that decodes; others give False.
    """
    at, baseline, scan, tables = 2, False, 0, b""
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in _FRAMES:
            baseline = marker in _BASELINE
        elif marker == _DHT:
            tables += data[at + 4 : at + 2 + size]
        at += 2 + size
        if marker == _SOS:
            scan = at
            break
    if not baseline or not scan or _zeros_are_even(tables):
        return False
    return _HOLE.search(data, scan) is not None


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
