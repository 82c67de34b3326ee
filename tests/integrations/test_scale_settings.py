"""What can be checked of `clickcut scale` without starting Ray."""

from __future__ import annotations

import subprocess
import sys

import pytest

from server.harness import server_environment


def run(prelude: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{prelude}\nfrom clickcut_scale.cli import app; app()", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=server_environment(),
        check=False,
    )


WITHOUT_RAY = "import sys; sys.modules['ray'] = None"


def test_without_ray_it_says_what_to_install() -> None:
    ended = run(WITHOUT_RAY, "up")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "clickcut scale: Ray Serve is not installed: pip install 'clickcut[scale]'"
    ]
