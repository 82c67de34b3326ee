"""Servers that start quickly: forked from a process that has loaded code and kernels already."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from server.harness import DEADLINE, START_SECONDS, server_environment, wait_until

_CODE = """
import ctypes, os, signal, sys
import cv2
cv2.setNumThreads(0)  # its threads would be missing after the fork
sys.path.insert(0, {tests!r})
from fakes import FakePredictor
from clickcut.server import model_registry, process
from clickcut.server.settings import Settings
from clickcut.warm_up import warm_up
model_registry.probe = lambda path: None  # it starts a process of its own; the model is the test's
warm_up(FakePredictor())
{prelude}
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    port, out = line.split()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # end with the parent
        for number in (1, 2):
            os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        sys.stdin.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        settings = Settings(address=f"127.0.0.1:{{port}}", **{settings!r})
        os._exit(process.run(settings))
    print(child, flush=True)
"""


class Nursery:
    """Starts servers of the same settings.

    Args:
        folder: for what they print.
        settings: of `Settings`, without the address.
        prelude: Python to run in each first.
    """

    def __init__(self, folder: Path, settings: dict[str, object], prelude: str = "") -> None:
        tests = str(Path(__file__).parents[1])
        code = _CODE.format(tests=tests, settings=settings, prelude=prelude)
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=server_environment() | {"GRPC_ENABLE_FORK_SUPPORT": "0"},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def start(self, port: int) -> ForkedServer:
        """Fork a server; it does not serve yet."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        out = self._folder / f"{self._count}.log"
        self._process.stdin.write(f"{port} {out}\n")
        self._process.stdin.flush()
        return ForkedServer(int(self._process.stdout.readline()), out)

    def stop(self) -> None:
        """End, and all servers with it."""
        self._process.kill()
        self._process.wait(DEADLINE)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class ForkedServer:
    """A server of a nursery."""

    def __init__(self, pid: int, out: Path) -> None:
        self._pid = pid
        self._out = out

    @property
    def said(self) -> str:
        """What it printed and logged."""
        return self._out.read_text() if self._out.exists() else ""

    def wait(self) -> int:
        """Wait until it serves; return its port."""

        def serves() -> bool:
            lines = self.said.splitlines()
            assert Path(f"/proc/{self._pid}").exists(), self.said
            return "serving" in lines

        wait_until(serves, "it serves", START_SECONDS)
        address = next(x for x in self.said.splitlines() if x.startswith("address"))
        return int(address.split()[1].rpartition(":")[2])

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{self._pid}").exists(), "it is gone")
