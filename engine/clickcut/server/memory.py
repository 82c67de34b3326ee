"""The memory of the server: its limit, its division, and how it is returned to the system.

The limit is the minimum of the machine's memory, the limits of the process's control groups
(https://docs.kernel.org/admin-guide/cgroup-v2.html, `memory.max`) and `RLIMIT_DATA`; `RLIMIT_AS`
counts reserved addresses, of which numerical libraries take far more than they use.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clickcut.control_groups import group_folders, read_text
from clickcut.errors import BusyError
from clickcut.server.settings import MIB, Settings

_ROOT = Path("/")
_BYTES_PER_PIXEL = 20
"""Maximum for an image with clicks."""
_COMPUTE_BASE_BYTES, _COMPUTE_BYTES_PER_PIXEL = 16 * MIB, 4
"""Peak of a prediction and a cut; measured and rounded up."""
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""Parameters of glibc's `mallopt`."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The memory of a server, divided, in bytes.

    Attributes:
        total: that the process may use.
        images: for decoded images.
        sessions: for sessions.
        incoming: for messages and uploads in transit or in progress.
        outgoing: for large replies that clients have not read yet.
        decoding: for decoders, beyond the pixels that they return.
        message: maximum size of a message.
        pixels: maximum size of an image, pixels.
    """

    total: int
    images: int
    sessions: int
    incoming: int
    outgoing: int
    decoding: int
    message: int
    pixels: int

    @staticmethod
    def of(settings: Settings, in_use: int = 0) -> Budgets:
        """Return what the settings say, and where they say 0, parts of the memory that is left.

        Args:
            settings: of the server.
            in_use: bytes that the program and its models occupy.
        """
        total = settings.memory_mib * MIB or memory_limit()
        rest = max(total - in_use, total // 4)
        images = settings.image_memory_mib * MIB or min(rest // 4, 2048 * MIB)
        incoming = settings.upload_memory_mib * MIB or min(rest // 16, 512 * MIB)
        pixels = int(settings.max_image_megapixels * 1e6)
        return Budgets(
            total=total,
            images=images,
            sessions=settings.session_memory_mib * MIB or min(rest // 4, 2048 * MIB),
            incoming=incoming,
            outgoing=incoming,
            decoding=min(rest // 8, 2048 * MIB),
            message=settings.max_message_mib * MIB or min(incoming // 2, 64 * MIB),
            pixels=pixels or min(images // _BYTES_PER_PIXEL, 100_000_000),
        )


class Allowance:
    """Bytes in use of a budget. Thread-safe.

    Args:
        budget: bytes. A larger request is allowed if nothing else is in use.
        name: purpose, for error messages and as the reason of refusals.
        total: refuse also what would take the whole process beyond this, bytes; 0: do not check.

    Attributes:
        exhausted: whether the process had too little memory since this was last reset.
    """

    def __init__(self, budget: int, name: str, total: int = 0) -> None:
        self._budget = budget
        self._name = name
        self._total = total
        self.exhausted = False
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self._used

    def take(self, count: int) -> None:
        """Use more bytes.

        Raises:
            BusyError: the budget, or the memory of the process, is exhausted.
        """
        with self._lock:
            # What is in use may not be resident yet: counted twice is safe, not at all is not.
            if self._total and resident() + self._used + count > self._total:
                self.exhausted = True
                raise BusyError(
                    f"the server is short of memory for {self._name}; try again in a moment, or "
                    "give it more --memory-mib",
                    reason="memory",
                )
            if count and self._used and self._used + count > self._budget:
                raise BusyError(
                    f"the memory for {self._name} is in use ({self._used // MIB} of "
                    f"{self._budget // MIB} MiB): try again in a moment, or give the server more "
                    "--memory-mib",
                    reason=f"memory for {self._name}",
                )
            self._used += count

    def give_back(self, count: int) -> None:
        """Release bytes."""
        with self._lock:
            self._used -= count

    @contextlib.contextmanager
    def taking(self, count: int) -> Iterator[None]:
        """Use more bytes while the context lasts.

        Raises:
            BusyError: see `take`.
        """
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)


def compute_bytes(pixels: int) -> int:
    """Return the peak memory of an event on an image of so many pixels, beside what it leaves."""
    return _COMPUTE_BASE_BYTES + _COMPUTE_BYTES_PER_PIXEL * pixels


def memory_limit(root: Path = _ROOT) -> int:
    """Return bytes that this process may use.

    Args:
        root: of the file system in which control groups are looked up.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_group_limits(root)]
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def resident(root: Path = _ROOT) -> int:
    """Return bytes of memory that this process occupies; 0 where that cannot be found out."""
    words = read_text(root / "proc/self/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def tune_allocator() -> None:
    """Return freed large arrays to the system at once. glibc only.

    By default glibc stops doing so after the first ones are freed, so memory of a load peak stays
    in the process. A few arenas, shared by threads, keep less than one per thread.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, MIB)
        libc.mallopt(_ARENA_MAX, 4)


def give_memory_back() -> None:
    """Return freed memory to the system. glibc only; takes milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _group_limits(root: Path) -> Iterator[int]:
    """Yield the limits of this process's control groups and of those above them."""
    for folder, is_version_2 in group_folders(root, "memory"):
        text = read_text(
            folder / ("memory.max" if is_version_2 else "memory.limit_in_bytes")
        ).strip()
        if text.isdecimal() and 0 < int(text) < 2**60:
            yield int(text)
