"""Encode and decode masks and probabilities: COCO RLE, PNG.

The cost is proportional to the size of the array, so pass only the rectangle that is needed. No
Numba and no network back-end: clients import this module as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError, ImageError
from clickcut.image_file import png
from clickcut.region import Region

# Rows of a mask are long runs: no filter and run-length matching is 3 times as fast as the default.
_PNG_OPTIONS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)

_PNG_HEADER_BYTES = 33
"""Signature, then the IHDR chunk: its length, its name, width, height, bits and colour type, ..."""

MAX_MASK_PIXELS = 2**30
"""Maximum number of pixels of a decoded mask; more than any accepted image has."""

MAX_MASK_SIDE = 2**20
"""Maximum number of rows or columns of a decoded mask."""

_COUNT_DIGITS = 7
"""Maximum number of base-32 digits of one count: enough for a difference of `MAX_MASK_PIXELS`."""

_CHUNK = 2**20
"""Bytes of an RLE decoded at a time."""

_PIECE = 2**20
"""Pixels of a mask encoded at a time."""


def to_rle(mask: NDArray[np.bool_], box: Region | None = None) -> bytes:
    """Encode a mask as COCO's compressed run lengths, column by column.

    pycocotools needs a transposed copy of the whole mask and holds the interpreter lock: 23 ms for
    12 megapixels, where this takes 3 ms. It goes piece by piece, since the runs of a mask of dots
    would take many times its memory.

    Args:
        mask: (H, W) bool.
        box: of the set pixels, if known, or larger; may be empty.

    Returns:
        What pycocotools calls `counts`, for an array of `mask`'s shape.
    """
    height, width = mask.shape
    encoded: list[bytes] = []
    before = np.zeros(2, np.int64)
    at = 0
    starts_of_all = _run_starts(mask, box or Region(0, 0, width, height))
    for starts in itertools.chain(starts_of_all, [np.array([height * width], np.int64)]):
        if not starts.size:
            continue
        lengths = np.diff(starts, prepend=at)
        at = int(starts[-1])
        known = np.concatenate((before, lengths))
        if not encoded:
            known[2] = 0  # no difference refers to the first number
        encoded.append(_digits_of(lengths - known[:-2]))
        before = known[-2:]
    return b"".join(encoded)


def _run_starts(mask: NDArray[np.bool_], box: Region) -> Iterator[NDArray[np.int64]]:
    """Yield the positions, column by column, where the value changes; in order, in pieces."""
    height, width = mask.shape
    held = np.empty(0, np.int64)
    step = max(1, _PIECE // max(1, box.height))
    for x0 in range(box.x0, box.x1 if box.height else box.x0, step):
        part = mask[box.y0 : box.y1, x0 : min(x0 + step, box.x1)]
        starts = np.concatenate((held, _changes(part, x0, box.y0, height)))
        # A run may continue from the bottom of a column at the top of the next one.
        twice = np.flatnonzero(starts[1:] == starts[:-1])
        starts = np.delete(starts, np.concatenate((twice, twice + 1)))
        yield starts[:-1]
        held = starts[-1:]
    yield held[held < height * width]


def _changes(part: NDArray[np.bool_], x0: int, y0: int, height: int) -> NDArray[np.int64]:
    """Return where the value changes, by position in an image that is 0 around `part`."""
    rows, columns = part.shape
    changes = np.empty((rows + 1, columns), np.bool_)
    changes[0], changes[rows] = part[0], part[rows - 1]
    np.not_equal(part[1:], part[:-1], out=changes[1:rows])
    y, x = np.divmod(np.flatnonzero(changes), columns)
    return np.sort((x + x0) * height + y + y0)


def _digits_of(numbers: NDArray[np.int64]) -> bytes:
    """Encode numbers as COCO writes them; see `_runs_of`."""
    digits = np.empty((numbers.size, _COUNT_DIGITS), np.uint8)
    written = np.zeros(digits.shape, np.bool_)
    goes_on = np.ones(numbers.size, np.bool_)
    for k in range(_COUNT_DIGITS):
        written[:, k] = goes_on
        low = numbers & 31
        numbers = numbers >> 5
        more = numbers != -(low >> 4)  # the sign is that of the last digit's highest bit
        digits[:, k] = low + 32 * more + 48
        goes_on &= more
        if not goes_on.any():
            break
    return digits[written].tobytes()


def from_rle(counts: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Decode COCO's compressed run lengths from an untrusted sender.

    Args:
        counts: see `to_rle`.
        height: of the mask.
        width: of the mask.

    Returns:
        (H, W) bool, contiguous.

    Raises:
        EventError: damaged, not of this size, or of a size that no image has.
    """
    total = _pixels_of(height, width)
    if len(counts) > _COUNT_DIGITS * (total + 1):
        raise EventError(
            f"the RLE has {len(counts):,} bytes, more than {width} x {height} pixels can take: "
            "check its size and that it is COCO's compressed form"
        )
    columns = np.empty(total, np.bool_)
    filled, selected = 0, False
    for lengths in _runs_of(counts):
        # Each run is bounded by what is left, so that neither the sum can wrap nor the array
        # overflow, whatever the numbers are.
        left = total - filled
        if int(lengths.min()) < 0 or int(lengths.max()) > left or int(lengths.sum()) > left:
            raise _wrong_size("more", height, width)
        values = np.zeros(lengths.size, np.bool_)
        values[int(not selected) :: 2] = True
        runs = np.repeat(values, lengths)
        columns[filled : filled + runs.size] = runs
        filled += runs.size
        selected ^= bool(lengths.size % 2)
    if filled != total:
        raise _wrong_size("fewer", height, width)
    # By OpenCV, which goes block by block: 1.4 ms for 12 megapixels, NumPy's copy takes 8.
    rows = cv2.transpose(columns.view(np.uint8).reshape(width, height))
    return np.asarray(rows, np.uint8).view(np.bool_)


def _pixels_of(height: int, width: int) -> int:
    """Return the number of pixels of a mask whose size an untrusted sender gives."""
    if not (0 < height <= MAX_MASK_SIDE and 0 < width <= MAX_MASK_SIDE):
        raise EventError(f"a mask cannot be {width} x {height} pixels")
    if height * width > MAX_MASK_PIXELS:
        raise EventError(
            f"a mask of {width} x {height} pixels is larger than any accepted image "
            f"({MAX_MASK_PIXELS:,} pixels)"
        )
    return height * width


def _wrong_size(than: str, height: int, width: int) -> EventError:
    return EventError(
        f"the RLE's runs cover {than} pixels than the mask has, {width} x {height} = "
        f"{height * width}: check its size and that it is COCO's compressed form"
    )


def _runs_of(counts: bytes) -> Iterator[NDArray[np.int64]]:
    """Yield the run lengths of COCO's compressed string, in pieces to bound the memory.

    Each number is in base 32, low digit first, one character per digit from "0" on; bit 5 says that
    more follow and bit 4 of the last is the sign. From the fourth number on, the difference to the
    number before the last one is written.

    The numbers are as written: they may be negative, and up to `_CHUNK` * 2^34 in size.
    """
    before = np.zeros(2, np.int64)
    """The last two numbers; the first number of all counts as 0, no difference refers to it."""
    at = 0
    while at < len(counts) or at == 0:
        digits = np.frombuffer(counts[at : at + _CHUNK], np.uint8).astype(np.int64) - 48
        ends = np.flatnonzero((digits & 32) == 0)
        if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or ends.size == 0:
            raise EventError("the RLE is empty, cut off or not COCO's compressed form")
        numbers = _numbers_of(digits[: ends[-1] + 1], ends)
        first, numbers[0] = numbers[0], numbers[0] if at else 0
        for k in (0, 1):  # sum up the differences, odd and even numbers apart
            numbers[k::2] = before[k] + np.cumsum(numbers[k::2])
        before = np.concatenate((before, numbers))[-2:]
        if not at:
            numbers[0] = first
        yield numbers
        if int(np.abs(before).max()) > MAX_MASK_PIXELS:
            raise EventError("the RLE has a run that is longer than any image")
        at += int(ends[-1]) + 1


def _numbers_of(digits: NDArray[np.int64], ends: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the numbers of base-32 digits, given where the last digit of each stands."""
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if int(sizes.max()) > _COUNT_DIGITS:
        raise EventError("the RLE has a run that is longer than any image")
    within = np.arange(digits.size) - np.repeat(starts, sizes)
    numbers = np.add.reduceat((digits & 31) << (5 * within), starts)
    negative = (digits[ends] & 16) != 0
    numbers[negative] -= np.int64(1) << (5 * sizes[negative])
    return numbers


def to_png(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) bool as a single-channel 8-bit PNG, 0 or 255."""
    ok, data = cv2.imencode(".png", mask.view(np.uint8) * np.uint8(255), _PNG_OPTIONS)
    if not ok:
        raise RuntimeError(f"a mask of shape {mask.shape} could not be written as PNG")
    encoded: bytes = data.tobytes()
    return encoded


def from_png(data: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Decode a mask from an untrusted sender; non-zero is selected.

    Args:
        data: a single-channel PNG.
        height: of the image.
        width: of the image.

    Returns:
        (H, W) bool.

    Raises:
        EventError: not a single-channel PNG, damaged, or of another size than the image; found from
            the header, before pixels are allocated.
    """
    if not data.startswith(png.START) or len(data) < _PNG_HEADER_BYTES:
        raise EventError("the initial mask is not a PNG file")
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if size != (width, height):
        raise EventError(
            f"the initial mask is {size[0]} x {size[1]} pixels, the image {width} x {height}"
        )
    if data[25] != 0:
        raise EventError("the initial mask must be a single-channel (grey) PNG")
    try:
        lean = png.read(data, transparency=False).data
        decoded = cv2.imdecode(np.frombuffer(lean, np.uint8), cv2.IMREAD_UNCHANGED)
    except (ImageError, cv2.error) as error:
        raise EventError(f"the initial mask is a damaged PNG file ({error})") from error
    if decoded is None or decoded.shape != (height, width):
        raise EventError("the initial mask is a damaged PNG file")
    return np.asarray(decoded != 0, np.bool_)


def full_probability(
    region: Region, values: NDArray[np.float32], height: int, width: int
) -> NDArray[np.float32]:
    """Return the probability of every image pixel, (H, W) float32; 0 outside the region.

    Args:
        region: what the network saw.
        values: (S, S) float32 over it.
        height: of the image.
        width: of the image.
    """
    out = np.zeros((height, width), np.float32)
    size = region.width, region.height
    out[region.slices] = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
    return out
