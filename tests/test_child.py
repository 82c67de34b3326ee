"""Processes end with the command that started them, whatever way that one ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from server.harness import (
    DEADLINE,
    has_ended,
    server_environment,
    wait_until,
    write_bundle,
)

pytestmark = pytest.mark.slow

PARENT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup ... &` has both ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from clickcut.cli import main
import clickcut.commands.demo as demo
def run(out):
    with demo.running_server("--model", {model!r}, "--drain-seconds", "0") as address:
        print(address, flush=True)
        {body}
demo.run = run
sys.argv = ["clickcut", "demo", "--out", "unused"]
main()
"""


def start(model: Path, body: str) -> tuple[subprocess.Popen[str], int]:
    """A command with a server of its own; and the server's process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(model=str(model), body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=server_environment(),
    )
    assert process.stdout is not None
    assert re.match(r"127\.0\.0\.1:\d+", process.stdout.readline())
    (child,) = children(process.pid)
    return process, child


def children(parent: int) -> list[int]:
    task = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(word) for word in task.read_text().split()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def test_a_server_ends_with_the_command(model: Path, number: str) -> None:
    process, child = start(model, "time.sleep(600)")
    process.send_signal(getattr(signal, number))
    output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode != 0, output
    assert "Traceback" not in errors
    wait_until(lambda: has_ended(child), "the server has ended")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_ends_with_a_command_that_fails(model: Path) -> None:
    process, child = start(model, "raise RuntimeError('it fails')")
    assert "it fails" in process.communicate(timeout=DEADLINE)[1]
    wait_until(lambda: has_ended(child), "the server has ended")
