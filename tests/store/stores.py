"""Stores for tests: a SQLite file, and a Redis of the test's own."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from server.harness import reserved_address, wait_until

from clickcut.store import Limits, Opening

LIMITS = Limits(
    seconds=3600.0,
    max_bytes=64 * 2**20,
    max_image_bytes=2**20,
    max_session_bytes=2**16,
    timeout=30.0,
)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def opening(session_id: str = "one", owner: str = "", image: bytes = b"image") -> Opening:
    return Opening(session_id, owner, digest_of(image), "toy@1 abc cpu", b"\x00start")


class RedisServer:
    """A `redis-server` on a free port of loopback.

    Args:
        folder: of its files.
        options: of its command line, e.g. `"--maxmemory", "2mb"`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        pytest.importorskip("redis")
        self._address = reserved_address()
        self.port = int(self._address.__enter__().split(":")[1])
        self._words = [
            *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "always", *options),
        ]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def ask(self, *words: str) -> bytes:
        """Send a command; its answer as it comes."""
        with socket.create_connection(("127.0.0.1", self.port), 10.0) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(4096)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._address.__exit__(None, None, None)
