"""What a measurement ran on."""

from __future__ import annotations

import platform
from pathlib import Path

from clickcut.processor import available_cpus


def cpu_name() -> str:
    """Model of the processor as the operating system names it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe() -> dict[str, str | int]:
    """Processor, cores available to this process, and Python version."""
    return {
        "cpu": cpu_name(),
        "cores": available_cpus(),
        "python": platform.python_version(),
    }
