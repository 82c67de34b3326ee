"""What a measurement ran on."""

from __future__ import annotations

import platform

from clickcut import processor


def describe() -> dict[str, str | int]:
    """Processor, CPUs that this process may use, and Python version."""
    return {
        "cpu": processor.name(),
        "cores": processor.available_cpus(),
        "python": platform.python_version(),
    }
