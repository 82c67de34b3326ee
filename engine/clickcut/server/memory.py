"""How much memory the server may use, how it is divided, and how it is given back.

The limit is the least of the machine's memory, the limits of the process's control groups
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

from clickcut.errors import BusyError
from clickcut.server.settings import MIB, Settings

_ROOT = Path("/")
_BYTES_PER_PIXEL = 20
"""Of an image on which clicks were made everywhere."""
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""Parameters of glibc's `mallopt`."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The memory of a server, divided, in bytes.

    Attributes:
        total: that the process may use.
        images: for decoded images.
        sessions: for sessions.
        incoming: for messages and uploads that are on their way or being dealt with.
        outgoing: for large replies that clients have not read yet.
        decoding: for what decoders need beside the pixels that they return.
        message: largest message.
        pixels: of the largest image; not bytes.
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
    def of(settings: Settings) -> Budgets:
        """Return what the settings say, and where they say 0, parts of the memory that there is."""
        total = settings.memory_mib * MIB or memory_limit()
        images = settings.image_memory_mib * MIB or min(total // 4, 2048 * MIB)
        incoming = settings.upload_memory_mib * MIB or min(total // 16, 512 * MIB)
        pixels = int(settings.max_image_megapixels * 1e6)
        return Budgets(
            total=total,
            images=images,
            sessions=settings.session_memory_mib * MIB or min(total // 4, 2048 * MIB),
            incoming=incoming,
            outgoing=incoming,
            decoding=min(total // 8, 2048 * MIB),
            message=settings.max_message_mib * MIB or min(incoming // 2, 64 * MIB),
            pixels=pixels or min(images // _BYTES_PER_PIXEL, 100_000_000),
        )


class Allowance:
    """Bytes in use of a budget. Threads may share it.

    Args:
        budget: bytes. What is larger on its own is allowed when nothing else is in use.
        name: of what they are for, in messages and as the reason of refusals.
    """

    def __init__(self, budget: int, name: str) -> None:
        self._budget = budget
        self._name = name
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self._used

    def take(self, count: int) -> None:
        """Use more bytes.

        Raises:
            BusyError: the budget is used up.
        """
        with self._lock:
            if count and self._used and self._used + count > self._budget:
                raise BusyError(
                    f"the memory for {self._name} is in use ({self._used // MIB} of "
                    f"{self._budget // MIB} MiB): try again in a moment, or give the server more "
                    "--memory-mib",
                    reason=f"memory for {self._name}",
                )
            self._used += count

    def give_back(self, count: int) -> None:
        """Use so many bytes less."""
        with self._lock:
            self._used -= count

    @contextlib.contextmanager
    def taking(self, count: int) -> Iterator[None]:
        """Use more bytes for a while.

        Raises:
            BusyError: see `take`.
        """
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)


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
    words = _read(root / "proc/self/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def tune_allocator() -> None:
    """Have large arrays, which come and go, given back to the system at once. glibc only.

    By itself glibc stops doing so once it has seen them freed; a flood then leaves its memory in
    the process. A few arenas, shared by threads, keep less than one for each.
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
    """Limits of this process's control groups and of those above them."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers not in ("", "memory"):
            continue
        mount, name = (
            (root / "sys/fs/cgroup/memory", "memory.limit_in_bytes")
            if controllers
            else (root / "sys/fs/cgroup", "memory.max")
        )
        # In a container the path may be the host's, of which only the last folders are mounted.
        names = [part for part in group.split("/") if part not in ("", ".", "..")]
        for count in range(len(names), -1, -1):
            text = _read(mount.joinpath(*names[:count]) / name).strip()
            if text.isdecimal() and 0 < int(text) < 2**60:
                yield int(text)


def _read(path: Path) -> str:
    """Return a small file; "" when it cannot be read."""
    try:
        return path.read_text("utf-8", "replace")[:65536]
    except OSError:
        return ""
