"""Watch a server process, and the machine, during a run: memory and processor time."""

from __future__ import annotations

import threading
import time
from typing import Any

PERIOD = 0.25
"""Seconds between two looks at the memory."""


def process_of(address: str) -> int | None:
    """Return the id of the local process that listens on HOST:PORT; None when it is not found."""
    import psutil  # type: ignore[import-untyped]

    port = address.rpartition(":")[2]
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:  # the system does not tell
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and str(connection.laddr.port) == port:
            return int(connection.pid) if connection.pid else None
    return None


class Watch:
    """Looks at a process and its children from `start` to `stop`.

    Args:
        pid: of the process; None: only the machine is watched.
    """

    def __init__(self, pid: int | None) -> None:
        import psutil

        self._process = psutil.Process(pid) if pid is not None else None
        self._own = psutil.Process()
        self._end = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._look, name="clickcut-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._before = self._spent()
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """End.

        Returns:
            `memory_mib` at its peak and `cores` in use on average by the server, when its process
            is known; by `generator`, this process; and by all `others` on the machine.
        """
        self._end.set()
        self._thread.join()
        wall, server, own, machine = (
            after - before for after, before in zip(self._spent(), self._before, strict=True)
        )
        cores = {"generator": own / wall, "others": max(0.0, machine - server - own) / wall}
        if self._process is None:
            return {"cores": cores}
        return {"memory_mib": self._peak / 2**20, "cores": {"server": server / wall} | cores}

    def _look(self) -> None:
        while True:
            self._peak = max(self._peak, self._resident())
            if self._end.wait(PERIOD):
                return

    def _resident(self) -> int:
        return sum(_memory(process) for process in self._family())

    def _spent(self) -> tuple[float, float, float, float]:
        """Return now, and processor seconds of the server, of this process and of the machine."""
        import psutil

        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        server = sum(_seconds(process) for process in self._family())
        # Guests are counted twice: as such and as user time.
        busy -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return time.perf_counter(), server, _seconds(self._own), busy

    def _family(self) -> list[Any]:
        import psutil

        if self._process is None:
            return []
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:  # it has ended
            return []


def _seconds(process: Any) -> float:
    """Return the processor time of a process; 0 when it has ended."""
    import psutil

    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _memory(process: Any) -> int:
    """Return the resident bytes of a process; 0 when it has ended."""
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
