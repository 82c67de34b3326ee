"""Read the segments of a JPEG file."""

from __future__ import annotations

from clickcut.errors import ImageError
from clickcut.image_file.exif import orientation_of, orientation_of_xmp
from clickcut.image_file.parts import Parts, damaged, number

START = b"\xff\xd8\xff"

_MAX_SEGMENTS = 4096
_MAX_SCANS = 1000
_LIGHT_SCANS = 200_000_000
"""Maximum pixels times scans decoded in the calling thread; each scan of a progressive
file passes over all pixels, even if it has only a few bytes."""

_SOS, _EOI = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = {0xC0, 0xC1, 0xC9}
_TABLES = {0xC4, 0xCC, 0xDB, 0xDD}
_ALONE = {0x01, *range(0xD0, 0xD8)}
"""Markers without a length."""
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE


def read(data: bytes) -> Parts:
    """Find the segments of a JPEG file that decoding needs.

    Raises:
        ImageError: damaged, or of an unsupported kind.
    """
    kept = [data[:2]]
    frame, process = b"", 0
    orientation, at = 1, 2
    for _ in range(_MAX_SEGMENTS):
        marker = number(data, at, 2) & 0xFF
        if data[at] != 0xFF or marker == _EOI:
            raise damaged("a JPEG segment is missing")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        size = number(data, at + 2, 2)
        body = data[at + 4 : at + 2 + size]
        if size < 2 or len(body) != size - 2:
            raise damaged("a JPEG segment ends too early")
        if marker in _FRAMES:
            frame, process = body, marker
        if marker == _SOS:
            kept.append(data[at:])
            return _parts(data, at, b"".join(kept), frame, process, orientation)
        if marker == _APP1 and orientation == 1:
            xmp = body.startswith(b"http://ns.adobe.com/xap/")
            orientation = orientation_of_xmp(body) if xmp else orientation_of(body)
        jfif = marker == _APP0 and body.startswith(b"JFIF\0")
        if marker in _FRAMES | _TABLES | {_APP14} or jfif:
            kept.append(data[at : at + 2 + size])
        at += 2 + size
    raise ImageError(
        f"a JPEG file with more than {_MAX_SEGMENTS} segments is not supported; save it again"
    )


def _parts(
    data: bytes, scan: int, lean: bytes, frame: bytes, process: int, orientation: int
) -> Parts:
    if len(frame) < 6:
        raise damaged("the JPEG frame is missing")
    bits, height, width, samples = frame[0], number(frame, 1, 2), number(frame, 3, 2), frame[5]
    if bits != 8:
        raise ImageError(f"JPEG images with {bits} bits per sample are not supported; convert to 8")
    scans = 1
    if process not in _SEQUENTIAL or number(data, scan + 4, 1) != samples:
        scans = data.count(b"\xff\xda", scan)
        if scans > _MAX_SCANS:
            raise ImageError(
                f"a JPEG file with more than {_MAX_SCANS} scans is not supported; save it again"
            )
    light = scans == 1 or scans * width * height <= _LIGHT_SCANS
    plain = samples in (1, 3)
    return Parts("JPEG", width, height, lean, orientation, light, plain, samples=samples)
