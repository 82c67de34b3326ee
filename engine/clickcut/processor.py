"""The processor as this process may use it: number of CPUs, instruction sets.

The number is what the process may use, not what the machine has: the affinity mask
(`taskset`, cpusets) and the CPU quota of its control groups, as a container has one.
https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`) and
https://docs.kernel.org/scheduler/sched-bwc.html (version 1, `cpu.cfs_quota_us`).
"""

from __future__ import annotations

import functools
import math
import os
import platform
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from clickcut.control_groups import group_folders, read_text

_ROOT = Path("/")

_THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables of libraries that otherwise start a thread per CPU of the machine."""


def available_cpus(root: Path = _ROOT) -> int:
    """Return how many CPUs this process may keep busy, at least 1.

    It is the size of the affinity mask, or the CPU quota rounded up if that is less.

    Args:
        root: of the file system in which the control groups are looked up.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min([cpus, *(math.ceil(quota) for quota in quotas(root))]))


def available_cores(root: Path = _ROOT) -> int:
    """Return how many threads of arithmetic are worth starting, at least 1.

    As `available_cpus`, with the hardware threads of one core counted once.

    Args:
        root: of the file system in which control groups and cores are looked up.
    """
    if not hasattr(os, "sched_getaffinity"):
        return available_cpus(root)
    cpus = os.sched_getaffinity(0)
    folders = (root / f"sys/devices/system/cpu/cpu{cpu}/topology" for cpu in cpus)
    cores = {read_text(folder / "thread_siblings_list") or str(folder) for folder in folders}
    return min(len(cores), available_cpus(root))


def quotas(root: Path = _ROOT) -> Iterator[float]:
    """Yield the quotas of this process's control groups and of all groups above them, in CPUs."""
    for folder, is_version_2 in group_folders(root, "cpu"):
        names = ("cpu.max",) if is_version_2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota = _quota(" ".join(read_text(folder / name) for name in names))
        if quota is not None:
            yield quota


def _quota(text: str) -> float | None:
    """Return the quota of `QUOTA PERIOD`, both in microseconds; None when there is none."""
    words = text.split()
    if len(words) != 2 or not all(word.isdecimal() and len(word) < 16 for word in words):
        return None  # "max", or -1 in version 1, or no such file
    quota, period = (int(word) for word in words)
    return quota / period if quota and period else None


def limit_library_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make numerical libraries start at most as many threads as there are CPUs.

    Call it before NumPy is imported: OpenBLAS starts its threads then, and knows no CPU quota.
    Variables that are set already are left alone.
    """
    for name in _THREAD_SETTINGS:
        environment.setdefault(name, str(available_cpus()))


@functools.cache
def features(root: Path = _ROOT) -> frozenset[str]:
    """Return the processor's instruction sets, as Linux names them; empty where unknown."""
    for line in read_text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM
            return frozenset(value.split())
    return frozenset()


def has_fast_bf16(root: Path = _ROOT) -> bool:
    """Return whether the processor has native bfloat16 arithmetic.

    True for AVX-512 BF16, AMX and ARM's BF16. Where it is false, PyTorch computes in bfloat16 by
    converting every value, many times slower than float32.
    """
    return not features(root).isdisjoint(("avx512_bf16", "amx_bf16", "bf16"))


def name(root: Path = _ROOT) -> str:
    """Return the model of the processor as the operating system names it."""
    for line in read_text(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
