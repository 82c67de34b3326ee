"""Label Studio's brush encoding: the RLE of `@thi.ng/rle-pack` over RGBA pixels, a list of bytes.

A stream of bits: 32 for the number of values, 5 for the word size - 1, four times 4 for the sizes
of lengths - 1; then blocks: 1 bit whether one word is repeated, 2 bits which size the length has,
the length - 1, and the word, or as many words. All four channels of a selected pixel are 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import EventError

_WORD = 8
_SIZES = (3, 4, 8, 16)
"""Bits of the four kinds of length; those that Label Studio's own encoder uses."""


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes of a mask (H, W) bool."""
    values, lengths = _runs(4, mask.ravel())
    longest = 1 << _SIZES[-1]
    pieces = -(-lengths // longest)
    values = np.repeat(values, pieces)
    full = np.full(int(pieces.sum()), longest, np.int64)
    full[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * longest  # the last piece has the rest
    kind = np.searchsorted(1 << np.array(_SIZES), full)
    size = np.array(_SIZES)[kind]
    # A block as one number: 1 | kind (2) | length - 1 (size) | word (8).
    code = (((4 + kind) << size) + full - 1 << _WORD) + values * np.int64(255)
    head = [(4 * mask.size, 32), (_WORD - 1, 5), *((size - 1, 4) for size in _SIZES)]
    numbers = np.concatenate((np.array([n for n, _ in head], np.int64), code))
    widths = np.concatenate((np.array([w for _, w in head]), 3 + size + _WORD))
    packed: list[int] = np.packbits(_bits(numbers, widths)).tolist()
    return packed


def _runs(repeat: int, flat: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Values of the runs of an array whose every element counts `repeat` times, and lengths."""
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    return flat[starts], repeat * np.diff(starts, append=flat.size)


def _bits(numbers: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The low `widths` bits of each number, one after the other, highest first."""
    ends = np.cumsum(widths)
    from_end = np.repeat(ends, widths) - 1 - np.arange(ends[-1])
    return (np.repeat(numbers, widths) >> from_end & 1).astype(np.uint8)


def decode(rle: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Decode a mask from an untrusted sender: selected where the alpha channel is not 0.

    Args:
        rle: the bytes.
        height: of the image.
        width: of the image.

    Returns:
        (H, W) bool.

    Raises:
        EventError: cut off, damaged, or of another size.
    """
    stream = _Bits(rle)
    total = stream.read(32)
    if total != 4 * height * width:
        raise EventError(
            f"its RLE holds {total} values, an image of {width} x {height} has {4 * height * width}"
        )
    word = stream.read(5) + 1
    sizes = [stream.read(4) + 1 for _ in range(4)]
    out = np.zeros(total, np.bool_)
    at = 0
    while at < total:
        repeated = stream.read(1)
        end = at + 1 + stream.read(sizes[stream.read(2)])
        if end > total:
            raise EventError("its RLE holds a run beyond the image")
        if repeated:
            out[at:end] = stream.read(word) != 0
        else:
            out[at:end] = stream.read_words(end - at, word) != 0
        at = end
    return np.ascontiguousarray(out.reshape(height, width, 4)[..., 3])


class _Bits:
    """Reads numbers of any number of bits."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int) -> int:
        first, end = self._at // 8, self._at + size
        last = -(-end // 8)
        if last > len(self._data):
            raise EventError("its RLE is cut off")
        self._at = end
        window = int.from_bytes(self._data[first:last], "big")
        return window >> (8 * last - end) & ((1 << size) - 1)

    def read_words(self, count: int, size: int) -> NDArray[np.int64]:
        return np.array([self.read(size) for _ in range(count)], np.int64)
