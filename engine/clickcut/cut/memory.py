"""Arrays that take memory only where they are written."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np
from numpy.typing import NDArray

from clickcut.kernels import kernel

PAGE = mmap.PAGESIZE
"""Bytes of the system's memory pages."""


def reserve(count: int) -> NDArray[np.int32]:
    """Return `count` zeros, int32, that take memory page by page when written."""
    area = mmap.mmap(-1, count * 4, access=mmap.ACCESS_COPY)  # private: cheaper than shared
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            area.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(area, np.int32)


@kernel
def count_pages(entries: NDArray[np.int32], seen: NDArray[np.uint8], page: int) -> int:
    """Return the number of pages in which the given entries of an int32 array lie.

    Args:
        entries: (N,) int32, indices.
        seen: (pages,) uint8, zeros; scratch.
        page: bytes of a page.
    """
    found = 0
    for n in range(entries.size):
        at = int(entries[n]) * 4 // page
        if not seen[at]:
            seen[at] = 1
            found += 1
    return found
