"""The process that decodes images for its parent: `python -m clickcut.image_file.worker FD`.

It imports decoders and nothing else of the engine, so that it starts quickly and stays small.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import signal
import socket
import sys
from pathlib import Path

import cv2

from clickcut.errors import ImageError
from clickcut.image_file.channel import SIZE, receive, receive_exactly, send
from clickcut.image_file.decode import render
from clickcut.image_file.parts import Parts
from clickcut.image_file.tones import Window

_GRACE_SECONDS = 2
"""Seconds after the caller's deadline at which the process ends, if the caller is gone."""


def main(descriptor: int) -> None:
    """Decode images from a socket until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the caller, which closes the socket
    cv2.setNumThreads(1)
    connection = socket.socket(fileno=descriptor)
    with connection, contextlib.suppress(ConnectionError, EOFError):
        connection.sendall(SIZE.pack(0))  # ready
        while True:
            _serve(connection)


def _serve(connection: socket.socket) -> None:
    request = json.loads(receive(connection))
    data = receive_exactly(connection, request["bytes"])
    _limit_memory(request["memory"])
    signal.alarm(math.ceil(request["seconds"]) + _GRACE_SECONDS)
    try:
        window = Window(*request["window"]) if request["window"] else None
        decoded = render(Parts(data=bytes(data), **request["parts"]), window)
    except ImageError as error:
        send(connection, json.dumps({"error": str(error)}).encode())
        return
    finally:
        signal.alarm(0)
    used = decoded.window
    reply = {"shape": decoded.pixels.shape, "window": used and (used.low, used.high)}
    send(connection, json.dumps(reply).encode())
    connection.sendall(decoded.pixels.data.cast("B"))


def _limit_memory(allowed: int) -> None:
    """Limit the memory of the process to `allowed` bytes more than now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:  # not Linux
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = pages * resource.getpagesize() + allowed
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
