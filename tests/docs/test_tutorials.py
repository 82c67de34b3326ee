"""The code of the tutorials and of the README runs, block after block."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from server.harness import ServerProcess

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_code_of_a_page_runs(
    page: Path, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = python_blocks(page)
    assert blocks
    picture = resources.files("clickcut") / "assets" / "astronaut.jpg"
    with resources.as_file(picture) as path:
        shutil.copy(path, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        code = block.replace("localhost:50051", server.address)
        exec(compile(code, str(page), "exec"), names)


@pytest.mark.slow
def test_the_commands_of_the_finetuning_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "tutorials" / "finetuning.md"
    monkeypatch.chdir(tmp_path)
    (pictures,) = python_blocks(page)
    exec(compile(pictures, str(page), "exec"), {})
    smaller = {
        "train run": ["--set", "schedule.samples=16"],
        "export onnx": ["--objects", "1", "--data", "folder:learn"],
        "eval run": ["--limit", "1", "--methods", "fcn-cut"],
    }
    commands = [
        shlex.split(line)
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.startswith("clickcut") and "serve" not in line
    ]
    assert [" ".join(c[1:3]) for c in commands] == [
        "eval run",
        "train run",
        "export onnx",
        "eval run",
    ]
    for command in commands[1:]:  # the first and the last are alike
        words = [*command[1:], *smaller[" ".join(command[1:3])]]
        done = subprocess.run(
            [sys.executable, "-m", "clickcut", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
    assert (tmp_path / "mine.onnx").is_file()
    assert (tmp_path / "runs/after/summary.json").is_file()
