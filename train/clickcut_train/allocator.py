"""Keep memory that was freed, so that the next step does not have to get it again."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Options of `mallopt`, see mallopt(3)."""

_KEPT = 2**31 - 1
"""More than a step allocates at once; the largest value that the options take."""

_GROWTH = 64 * 2**20


def keep_freed_memory() -> bool:
    """Make the C library keep the memory of arrays that were freed; return whether it does.

    glibc gives large blocks back to the system at once. Each step then gets its activations as new
    pages, which the system fills with zeros one by one: a third of the time of a step on a CPU
    (benchmarks/results/training.md). Other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = ((_M_MMAP_THRESHOLD, _KEPT), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, _GROWTH))
    return all(mallopt(option, value) for option, value in options)
