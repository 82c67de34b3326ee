"""`clickcut scale up` in a process of its own, on a local Ray."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
from server.harness import DEADLINE, server_environment, wait_until

START_SECONDS = 400.0
"""Ray, its workers and the kernels start within this on a busy machine."""

_MAIN = "from clickcut_scale.cli import app; app()"


class Scaled:
    """Replicas on this machine.

    Args:
        words: of the command line.
        wait: for "serving"; otherwise for the end.
        environment: variables beside those of this process.
    """

    def __init__(self, *words: object, wait: bool = True, **environment: str) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, "up", "--port", "0", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=server_environment() | {"CLICKCUT_CUT_SOLVER": "grid"} | environment,
        )
        self._descendants: list[psutil.Process] = []
        self._readers = [
            threading.Thread(target=lines.extend, args=(pipe,), daemon=True)
            for pipe, lines in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()
        try:
            if wait:
                self.wait_for("serving")
                self.address = f"127.0.0.1:{self._line('address').split()[1].rpartition(':')[2]}"
            else:
                wait_until(lambda: self.process.poll() is not None, "it ends", START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def wait_for(self, start: str) -> None:
        def said() -> bool:
            assert self.process.poll() is None, "".join(self.errors)
            return any(line.startswith(start) for line in self.lines)

        wait_until(said, f"it says {start!r}", START_SECONDS)

    def _line(self, start: str) -> str:
        return next(line for line in self.lines if line.startswith(start))

    def descendants(self) -> list[psutil.Process]:
        """All processes that it started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def replicas(self) -> list[psutil.Process]:
        """The processes of its replicas."""
        found = []
        for process in self.descendants():
            try:
                if "ServeReplica:clickcut:engine" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue  # it has just ended
        return found

    def hang_up(self) -> None:
        """Have it read its models again."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> list[psutil.Process]:
        """End it as Ctrl-C does; return the processes that it left behind, which are killed."""
        if self.process.poll() is None:
            started = self.descendants()
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self._descendants = started
        _, left = psutil.wait_procs(self._descendants, timeout=DEADLINE)
        left = [process for process in left if not is_zombie(process)]
        for process in left:
            process.kill()
        for reader in self._readers:
            reader.join(DEADLINE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return left

    def __enter__(self) -> Scaled:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def is_zombie(process: psutil.Process) -> bool:
    """Whether a process has ended and only waits for its parent to look."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def dying_worker(folder: Path) -> str:
    """Return a PYTHONPATH with which a replica's process ends while it loads its models."""
    (folder / "sitecustomize.py").write_text(
        """
import sys

if any("default_worker" in word for word in sys.orig_argv):
    import importlib.abc, os

    class Dying(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "onnxruntime":
                os._exit(9)

    sys.meta_path.insert(0, Dying())
"""
    )
    return str(folder)
