"""`clickcut scale up` in a process of its own, on a local Ray."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psutil
from server.harness import DEADLINE, StartedCommand, wait_until

START_SECONDS = 400.0
"""Ray, its workers and the kernels start within this on a busy machine."""

_MAIN = "from clickcut_scale.cli import app; app()"


class Scaled(StartedCommand):
    """Replicas on this machine.

    Args:
        words: of the command line.
        wait: for "serving"; otherwise for the end.
        environment: variables beside those of this process.
    """

    def __init__(self, *words: object, wait: bool = True, **environment: str) -> None:
        self._descendants: list[psutil.Process] = []
        environment = {"CLICKCUT_CUT_SOLVER": "grid"} | environment
        super().__init__("-c", _MAIN, "up", "--port", "0", *map(str, words), **environment)
        try:
            if wait:
                self.wait_for("serving", START_SECONDS)
                self.address = f"127.0.0.1:{self.port_in('address')}"
            else:
                wait_until(lambda: self.process.poll() is not None, "it ends", START_SECONDS)
        except BaseException:
            self.stop()
            raise

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
        self.join()
        return left


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
