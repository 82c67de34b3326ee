"""Decode in a process with limits on time and memory, so that decoding can be stopped.

What is light (see `Parts`) is decoded in the calling thread. The rest is decoded in a child
process, which is killed when it takes too long or when all requests for the image are cancelled.
The process is started when first needed and kept for the next image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import clickcut
from clickcut.errors import ImageError, LimitError
from clickcut.image_file.cancellation import Cancellation
from clickcut.image_file.channel import SIZE, fill, receive, receive_exactly, send, wait_until
from clickcut.image_file.decode import Decoded
from clickcut.image_file.lazy import Admit, Opened, open_lazily
from clickcut.image_file.parts import Parts
from clickcut.image_file.structure import ImageLimits, examine
from clickcut.image_file.tones import Window
from clickcut.scales import Scales

_START_SECONDS = 60.0
"""Maximum seconds for a process to start; half a second is usual."""

_SOCKET_BUFFER = 2**20


class Decoder:
    """Decodes image files within limits on time and memory. Thread-safe.

    Args:
        seconds: maximum time for one image.
        spare: number of idle processes kept for the next images.
    """

    def __init__(self, seconds: float = 30.0, spare: int = 1) -> None:
        self._seconds = seconds
        self._spare = spare
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._closed = False

    def decode(
        self,
        data: bytes,
        limits: ImageLimits | None = None,
        cancellation: Cancellation | None = None,
        window: Window | None = None,
        admit: Admit | None = None,
        admit_full: Admit | None = None,
    ) -> Opened:
        """Decode an image file as `clickcut.image_file.lazy.open_lazily` does.

        Args:
            data: the encoded file.
            limits: what to accept.
            cancellation: lets another thread cancel it.
            window: see there.
            admit: called with the examined file; the returned context reserves its memory.
            admit_full: the same for what is decoded in full later.

        Raises:
            ImageError: see there; or it takes too long, too much memory, or breaks the decoder.
            LimitError: no process could be started for it.
            UnavailableError: it was cancelled.
        """
        cancellation = cancellation or Cancellation()
        cancellation.check()
        image = examine(data, limits)
        with admit(image) if admit else contextlib.nullcontext():
            if image.light:
                return open_lazily(image, window, admit_full)
            decoded = self._render_apart(image, cancellation, window)
            return Opened(Scales.of(decoded.pixels), decoded.window)

    def _render_apart(
        self, image: Parts, cancellation: Cancellation, window: Window | None
    ) -> Decoded:
        worker = self._take(image)
        try:
            with cancellation.stopping(worker.interrupt):
                decoded = worker.render(image, window, self._seconds)
        except BaseException:
            if not worker.usable:
                worker.kill()
                cancellation.check()
            else:
                self._give_back(worker)
            raise
        self._give_back(worker)
        return decoded

    def close(self) -> None:
        """End idle processes; busy ones end after their image."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def _take(self, image: Parts) -> _Worker:
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return self._start(image)
            if worker.alive:
                return worker
            worker.kill()

    def _start(self, image: Parts) -> _Worker:
        try:
            return _Worker()
        except (OSError, EOFError) as error:
            raise LimitError(
                f"cannot start a process to decode {image.kind} images ({error}); try again later, "
                "or send JPEG or PNG"
            ) from error

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self._spare:
                self._idle.append(worker)
                return
        worker.kill()


class _Worker:
    """A decoding process.

    Raises:
        OSError: it cannot be started.
        EOFError: it ended before it was ready.

    Attributes:
        usable: whether it can be given another image.
    """

    def __init__(self) -> None:
        if not sys.executable:
            raise OSError("this interpreter does not know its own program")
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self._connection = ours
        try:
            with theirs:
                # Not a fork: the process is a new interpreter, whatever threads run in this one.
                self._process = subprocess.Popen(
                    (
                        sys.executable,
                        "-P",
                        "-m",
                        "clickcut.image_file.worker",
                        str(theirs.fileno()),
                    ),
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                )
        except BaseException:
            ours.close()
            raise
        self.usable = True
        try:
            receive_exactly(ours, SIZE.size, time.monotonic() + _START_SECONDS)
        except BaseException as error:
            self.kill()
            if isinstance(error, EOFError):
                code = self._process.returncode
                raise EOFError(f"it ended with exit code {code}") from error
            raise

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def render(self, image: Parts, window: Window | None, seconds: float) -> Decoded:
        """Decode an examined file in the process; see `clickcut.image_file.decode.render`.

        Raises:
            ImageError: as there; or it took too long, or ended the process.
        """
        self.usable = False
        deadline = time.monotonic() + seconds
        try:
            self._ask(image, window, seconds, deadline)
            reply = json.loads(receive(self._connection, deadline))
            if "error" in reply:
                self.usable = True
                raise ImageError(reply["error"])
            pixels = np.empty(image.shape, np.uint8)
            if tuple(reply["shape"]) != pixels.shape:
                raise EOFError(f"pixels of shape {reply['shape']}")
            fill(self._connection, pixels.data.cast("B"), deadline)
        except TimeoutError as error:
            raise ImageError(
                f"decoding the {image.kind} image takes longer than {seconds:g} s; save it again "
                "as a baseline JPEG or as PNG"
            ) from error
        except (OSError, EOFError) as error:
            raise ImageError(
                f"the decoder failed on this {image.kind} image ({self._end()}): it is "
                "damaged, or takes too much memory"
            ) from error
        self.usable = True
        return Decoded(pixels, Window(*reply["window"]) if reply["window"] else None)

    def interrupt(self) -> None:
        """End it while another thread waits for it, which then gets an error."""
        self._process.kill()

    def kill(self) -> None:
        """Kill it and free its resources."""
        self.usable = False
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _ask(self, image: Parts, window: Window | None, seconds: float, deadline: float) -> None:
        fields = {f.name: getattr(image, f.name) for f in dataclasses.fields(image)}
        data = fields.pop("data")
        message = {
            "parts": fields,
            "window": window and (window.low, window.high),
            "bytes": len(data),
            "memory": image.decode_bytes,
            "seconds": seconds,
        }
        wait_until(self._connection, deadline)
        send(self._connection, json.dumps(message).encode())
        wait_until(self._connection, deadline)
        self._connection.sendall(data)

    def _end(self) -> str:
        """Return how the process ended, for messages."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.poll()
        if code is None:
            return "it does not answer"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment() -> dict[str, str]:
    """Return our environment, with the path of this package and one thread per library."""
    ours = str(Path(clickcut.__file__).parents[1])
    path = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH", ""))))
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return os.environ | threads | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
