"""How many CPUs there are to use, and what they can do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clickcut import processor


def write(root: Path, files: dict[str, str]) -> Path:
    for place, text in files.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _sixteen_cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        # Version 2: a container sees its own group as the root.
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 16),
        # A limit of a group above counts as well.
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
            },
            3,
        ),
        # The host's path, of which nothing is mounted here but the group itself.
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod7/x\n",
                "sys/fs/cgroup/cpu.max": "400000 100000\n",
            },
            4,
        ),
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "500000 100000\n"}, 5),
        # Version 1, and both together.
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n3:cpuset:/\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
        # What no kernel writes.
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9" * 5000 + " 1\n"}, 16),
        ({"proc/self/cgroup": "\x00::::\n0\n", "sys/fs/cgroup/cpu.max": "²\n"}, 16),
    ],
)
def test_the_least_of_affinity_and_quotas_counts(tmp_path, files, expected):
    assert processor.available_cpus(write(tmp_path, files)) == expected


def test_affinity_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert processor.available_cpus(tmp_path) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processor.available_cpus(tmp_path) == 1


def test_threads_of_one_core_count_once(tmp_path):
    assert processor.available_cores(tmp_path) == 16  # where nothing is known of cores
    place = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    root = write(tmp_path, {place.format(k): f"{k % 8},{k % 8 + 8}\n" for k in range(16)})
    assert processor.available_cores(root) == 8
    write(root, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"})
    assert processor.available_cores(root) == 2


@pytest.mark.parametrize(
    ("cpuinfo", "bf16"),
    [
        ("flags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: fpu avx2 avx_vnni\n", False),
        ("flags\t\t: avx512f avx512_vnni avx512_bf16\n", True),
        ("flags\t\t: avx512f amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd asimddp bf16\n", True),
        ("nothing of this kind\n", False),
    ],
)
def test_instruction_sets_are_read(tmp_path, cpuinfo, bf16):
    root = write(tmp_path, {"proc/cpuinfo": f"model name\t: Some CPU\n{cpuinfo}flags : again\n"})
    assert processor.has_fast_bf16(root) == bf16
    assert processor.name(root) == "Some CPU"


def test_an_unknown_system_claims_nothing(tmp_path):
    assert processor.features(tmp_path) == frozenset()
    assert not processor.has_fast_bf16(tmp_path)
    assert processor.name(tmp_path)


def test_what_the_user_has_set_stays():
    environment = {"OMP_NUM_THREADS": "7"}
    processor.limit_library_threads(environment)
    assert environment["OMP_NUM_THREADS"] == "7"
    assert int(environment["OPENBLAS_NUM_THREADS"]) == processor.available_cpus()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_cpu_counts_one():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from clickcut.processor import available_cpus; print(available_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
