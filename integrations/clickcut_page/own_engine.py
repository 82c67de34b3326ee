"""An engine of the page's own: started again when it dies, ended with the page, killed or not."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

from clickcut.errors import BackendError

_FIRST_DELAY, _MAX_DELAY = 0.5, 10.0
_STABLE_SECONDS = 60.0
"""An engine that ran this long starts again without a delay."""


class OwnEngine:
    """Keeps `clickcut serve` running on a loopback port.

    Args:
        options: further arguments of `clickcut serve`.

    Attributes:
        address: HOST:PORT, the same for every start.
        process: the present one.
    """

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._port.getsockname()[1]}"
        if sys.platform != "linux":
            self._port.close()
        self._options = options
        self._stopped = threading.Event()
        self.process = self._start()
        self._watcher = threading.Thread(target=self._watch, name="engine-watch", daemon=True)
        self._watcher.start()

    def _start(self) -> subprocess.Popen[bytes]:
        # It ends with this process: see `clickcut.commands.child`.
        command = [sys.executable, "-m", "clickcut.commands.child", "serve"]
        options = ["--address", self.address, *self._options]
        try:
            return subprocess.Popen(
                [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            raise BackendError(f"the engine cannot be started ({error.strerror})") from error

    def _watch(self) -> None:
        delay = _FIRST_DELAY
        while not self._stopped.is_set():
            began = time.monotonic()
            code = self.process.wait()
            if self._stopped.is_set():
                return
            if time.monotonic() - began > _STABLE_SECONDS:
                delay = _FIRST_DELAY
            self._close_pipe()
            print(f"the engine ended with code {code}; it starts again", file=sys.stderr)
            if self._stopped.wait(delay):
                return
            delay = min(2 * delay, _MAX_DELAY)
            self.process = self._start()

    def stop(self) -> None:
        """Stop it, and do not start it again."""
        self._stopped.set()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._watcher.join(5)
        self._close_pipe()
        self._port.close()

    def _close_pipe(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
