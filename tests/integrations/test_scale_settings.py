"""What can be checked of `clickcut scale` without starting Ray."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def test_a_model_that_cannot_be_used_ends_it_before_ray_starts(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    bundle = tmp_path / "broken.onnx"
    bundle.write_bytes(b"not a model")
    ended = run("", "up", "--model", str(bundle))
    assert ended.returncode == 2
    assert "Ray" not in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert line.startswith("clickcut scale:")
    assert "broken.onnx" in line


def test_a_port_in_use_is_named() -> None:
    pytest.importorskip("ray")
    with socket.create_server(("", 0)) as taken:
        ended = run("", "up", "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "--port" in line


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, when it is imported
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"settings": {"metrics_port": 9}}, "metrics_port"),
        ({"settings": {"no_such": 1}}, "no_such"),
        ({"settings": {"queue": -1}}, "queue"),
        ({"min_replicas": 5, "max_replicas": 2}, "min_replicas"),
        ({"replicas": 0}, "replicas"),
        ({"cpu": 2}, "cpu"),
    ],
)
def test_arguments_that_cannot_be_right_are_named(fields: dict[str, Any], named: str) -> None:
    pytest.importorskip("ray")
    from clickcut_scale.application import build

    with pytest.raises(ValueError, match=named):
        build(fields)
