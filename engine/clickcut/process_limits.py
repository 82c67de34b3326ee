"""Limit the time and memory of this process; native code is ended as well."""

from __future__ import annotations

import math
import signal
from typing import Literal

try:
    import resource
except ImportError:  # not on this system
    resource = None  # type: ignore[assignment]


def limit_time(seconds: float) -> None:
    """End this process by SIGALRM after `seconds`, rounded up; 0 cancels."""
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(seconds))


def limit_memory(kind: Literal["DATA", "AS"], allowed: int) -> None:
    """Limit memory, of data or of the address space, to `allowed` bytes, or the hard limit if less.

    Does nothing where the system has no such limits.
    """
    if resource is None:
        return
    number = {"DATA": resource.RLIMIT_DATA, "AS": resource.RLIMIT_AS}[kind]
    _, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(number, (allowed, hard))


def no_core_dump() -> None:
    """Write no core file if this process crashes."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
