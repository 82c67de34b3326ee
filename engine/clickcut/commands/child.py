"""Run the command line in a process that ends with its parent, however the parent ends.

`python -m clickcut.commands.child WORDS` is `clickcut WORDS`, watched: its standard input is a pipe
whose other end only the parent holds. When the parent ends, killed or not, the pipe closes, and the
child gets SIGTERM; if it does not stop in time, it is killed.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

GRACE_SECONDS = 15.0
"""Seconds that a child may take to stop before it is killed."""


@contextmanager
def child(words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run `clickcut WORDS` in a child process and stop it at the end.

    Args:
        words: arguments of the command line.

    Yields:
        The process; its output and errors come through its `stdout`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "clickcut.commands.child", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, name="clickcut-parent", daemon=True).start()
    runpy.run_module("clickcut", run_name="__main__", alter_sys=True)
