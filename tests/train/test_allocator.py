"""Memory that was freed stays with the process while it trains."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from clickcut_train.allocator import keep_freed_memory

PAGE_FAULTS = """
import resource, sys
import numpy as np
from clickcut_train.allocator import keep_freed_memory

def step():
    return float(np.ones(8 * 2**20, np.float32)[-1])

if sys.argv[1] == "keep":
    assert keep_freed_memory()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kept):
    command = [sys.executable, "-c", PAGE_FAULTS, "keep" if kept else "give back"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_arrays_of_later_steps_take_no_new_pages():
    assert page_faults(kept=True) < page_faults(kept=False) / 4


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
