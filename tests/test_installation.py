"""A broken installation ends a command in one line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import clickcut
from clickcut.installation import opencv_fault

PHOTO = Path(clickcut.__file__).parent / "assets" / "astronaut.jpg"


def test_nothing_is_wrong_here():
    assert opencv_fault() == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "its folder is there, but empty"),
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1"),
        ("import a_module_that_is_not_there", "No module named"),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        ("segment", PHOTO, "--click", "230,200", "--out", "mask.png"),
        ("serve", "--address", "127.0.0.1:0"),
    ],
)
def test_opencv_that_cannot_be_used_is_one_line(tmp_path, content, reason, words):
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(content)
    path = os.pathsep.join(str(p) for p in (tmp_path, Path(clickcut.__file__).parents[1]))
    command = [sys.executable, "-m", "clickcut", *words]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("clickcut: OpenCV cannot be used")
    assert reason in line
    assert "pip install opencv-python-headless" in line


def test_onnx_runtime_reports_to_nobody(tmp_path):
    """Since 1.29 it does unless told not to, and keeps an identifier in the home folder."""
    code = """
from clickcut.backends import load_predictor
from clickcut.bundle import bundled_models
load_predictor(bundled_models()["default"])
"""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}
    environment = kept | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == []
