"""The stubs that are checked in are those of the contract that is checked in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HINT = "the stubs are stale; run: make stubs (python scripts/generate_stubs.py)"


def test_stubs_are_up_to_date(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "generate_stubs.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, capture_output=True)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "clickcut" / "v1").iterdir()}
    folder = ROOT / "engine" / "clickcut" / "v1"
    found = {path.name: path.read_bytes() for path in folder.glob("*_pb2*")}
    assert sorted(found) == sorted(fresh), HINT
    stale = [name for name in fresh if found[name] != fresh[name]]
    assert not stale, f"{HINT} ({', '.join(stale)})"
