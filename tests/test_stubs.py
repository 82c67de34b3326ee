"""The stubs that are checked in are those of the contract that is checked in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HINT = "the stubs are stale; run: make stubs (python scripts/generate_stubs.py)"


def test_stubs_are_up_to_date(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "generate_stubs.py"
    command = [sys.executable, script, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    if "cannot install" in done.stderr:
        pytest.skip("the generators of the stubs cannot be installed here: no package index?")
    assert done.returncode == 0, done.stderr
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "clickcut" / "v1").iterdir()}
    folder = ROOT / "engine" / "clickcut" / "v1"
    found = {path.name: path.read_bytes() for path in folder.glob("*_pb2*")}
    assert sorted(found) == sorted(fresh), HINT
    stale = [name for name in fresh if found[name] != fresh[name]]
    assert not stale, f"{HINT} ({', '.join(stale)})"
