"""The code of the tutorials and of the README runs, block after block."""

from __future__ import annotations

import re
import shutil
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
