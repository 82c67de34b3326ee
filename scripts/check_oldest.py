"""Try the engine with the oldest dependencies that pyproject.toml allows.

    python scripts/check_oldest.py          # some minutes; needs `uv`, of the extra `dev`
    python scripts/check_oldest.py --keep DIR    # leaves the environment there

The newest ones are those of the tests. Installs the engine and its extra `cpu` with the lowest
version of every direct dependency, then asks a real server for three clicks, and the command line
for a mask.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SMOKE = """
import re, subprocess, sys
from importlib.metadata import version
from pathlib import Path
import clickcut
from clickcut.client import Client

photo = Path(clickcut.__file__).parent / "assets" / "astronaut.jpg"
command = [sys.executable, "-m", "clickcut", "serve", "--address", "127.0.0.1:0"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    address = ""
    for line in server.stdout:
        found = re.match(r"address +(\\S+)", line)
        address = found[1] if found else address
        if line.startswith("serving"):
            break
    assert address, "the server did not start"
    with Client(address) as client:
        assert [m.name for m in client.models()][0] == "default"
        with client.open(photo) as session:
            first = session.click(230, 200).sum()
            session.click(200, 450)
            mask = session.click(20, 20, positive=False)
        assert mask.any() and not mask[20, 20] and mask[200, 230], mask.sum()
finally:
    server.terminate()
    code = server.wait(60)
assert code == 0, code
print("three clicks:", first, "to", mask.sum(), "pixels")
"""


def run(*command: str | Path, **environment: str) -> None:
    """Run a program; its failure ends this one.

    Raises:
        SystemExit: it failed; it has printed why.
    """
    done = subprocess.run([str(word) for word in command], env=os.environ | environment)
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(map(str, command))[:200]}")


def check(folder: Path) -> None:
    """Install into `folder` and try.

    Raises:
        SystemExit: something does not work.
    """
    uv = (sys.executable, "-m", "uv", "--quiet")
    python = folder / "bin" / "python"
    run(*uv, "venv", "--clear", "--python", sys.executable, folder)
    wanted = f"clickcut[cpu] @ file://{ROOT}"
    run(*uv, "pip", "install", "--python", python, "--resolution", "lowest-direct", wanted)
    run(*uv, "pip", "freeze", "--python", python)
    smoke = folder / "smoke.py"
    smoke.write_text(SMOKE)
    run(python, "-W", "error::DeprecationWarning:clickcut", smoke)
    mask = folder / "mask.png"
    photo = ROOT / "engine" / "clickcut" / "assets" / "astronaut.jpg"
    program = folder / "bin" / "clickcut"
    run(program, "segment", photo, "--click", "230,200", "--out", mask)
    run(program, "models", "verify")
    run(program, "serve", "--help")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Try the oldest dependencies.")
    parser.add_argument("--keep", type=Path, help="folder of the environment; it stays")
    chosen = parser.parse_args().keep
    if chosen is not None:
        check(chosen)
    else:
        with tempfile.TemporaryDirectory() as name:
            check(Path(name) / "environment")
