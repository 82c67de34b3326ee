"""Real servers for tests: a small model, a process on loopback, and a line that can be cut."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import cv2
import grpc
import numpy as np
from fakes import metadata_fields
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from clickcut.bundle import METADATA_KEY
from clickcut.bundle.file import seal
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

SIZE = 64
DEADLINE = 120.0
"""Seconds after which something that should happen has not, on a busy machine as well."""
START_SECONDS = 400.0
"""The first start on a machine compiles the kernels."""


def wait_until(happened: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Poll until it happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"did not happen in {seconds:g} s: {what}"
        time.sleep(0.01)


def has_ended(process_id: int) -> bool:
    """Whether a process is gone, or ended and not yet collected by whoever inherited it. Linux."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


@contextlib.contextmanager
def reserved_address() -> Iterator[str]:
    """An address on loopback where servers can listen one after another, and no other program.

    Linux gives a port that is bound, even if nothing listens there, only to those who ask for this
    very one: neither to a server that takes any free port nor to an outgoing connection.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield f"127.0.0.1:{port}"


# ---- a model and an image


def write_bundle(
    path: Path, name: str = "toy", version: str = "1", radius: int = 12, sealed: bool = False
) -> Path:
    """A bundle whose logits grow near positive clicks and fall near negative ones.

    Args:
        path: of the file, which appears as a whole.
        name: of the model.
        version: of the model.
        radius: of what a click reaches, in network pixels.
        sealed: whether it holds a seal.
    """
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    bump = np.exp(-(x**2 + y**2) / (0.3 * radius**2)).astype(np.float32)
    kernel = np.zeros((1, 6, *bump.shape), np.float32)
    kernel[0, 3], kernel[0, 4] = 0.4 * bump, -0.4 * bump
    centre = radius, radius
    kernel[0, :3, *centre] = (0.8, -0.3, -0.3)  # likes red
    kernel[0, 5, *centre] = 1.5
    weights = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([-1.5], np.float32), "bias"),
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], pads=[radius] * 4),
        helper.make_node("Squeeze", ["y", "axes"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "toy",
        [value("x", TensorProto.FLOAT, ["N", 6, SIZE, SIZE])],
        [value("logits", TensorProto.FLOAT, ["N", SIZE, SIZE])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    document = metadata(name) | {"version": version}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(document))
    data: bytes = model.SerializeToString()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(seal(data) if sealed else data)
    partial.replace(path)
    return path


def metadata(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = metadata_fields(
        name=name,
        architecture="one convolution",
        input_size=SIZE,
        pixel_scale=1 / 64,
        pixel_offset=-2.0,
        region={"zoom": True, "expansion": 1.4, "min_side": 64},
        cut={"cut_lambda": 0.5, "cut_sigma": 0.0, "seed_radius": 3.0, "threshold": 0.5},
        training={"data": "none"},
        checkpoint_sha256=hashlib.sha256(name.encode()).hexdigest(),
    )
    return fields


def picture(width: int = 160, height: int = 120, seed: int = 0) -> NDArray[np.uint8]:
    """A photograph-like image with red things in it, (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(40, 160, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    pixels = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(4):
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        axes = int(rng.integers(8, 12 + width // 6)), int(rng.integers(8, 12 + height // 6))
        cv2.ellipse(pixels, centre, axes, float(rng.integers(0, 180)), 0, 360, (210, 60, 50), -1)
    return pixels


def encode(pixels: NDArray[np.generic], suffix: str = ".png") -> bytes:
    """An image file of pixels as OpenCV orders them."""
    data: bytes = cv2.imencode(suffix, pixels)[1].tobytes()
    return data


def image_file(width: int = 160, height: int = 120, seed: int = 0) -> bytes:
    return encode(picture(width, height, seed)[:, :, ::-1])


def random_clicks(seed: int, count: int, width: int, height: int) -> list[tuple[int, int, bool]]:
    rng = np.random.default_rng(seed)
    return [
        (int(rng.integers(0, width)), int(rng.integers(0, height)), bool(rng.random() < 0.6))
        for _ in range(count)
    ]


# ---- a server


class StartedCommand:
    """A command as a process of its own, and the lines that it prints.

    Args:
        words: of the command line, after that of Python.
        environment: variables beside those of this process.
    """

    def __init__(self, *words: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=server_environment() | environment,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: Any, lines: list[str]) -> None:
        for line in pipe:
            lines.append(line.rstrip("\n"))
            if '"clickcut.server.progress"' in line:  # with --log-format json
                self.lines.append(json.loads(line)["message"])

    def line(self, start: str) -> str:
        """The first line that starts so."""
        return next(line for line in self.lines if line.startswith(start))

    def port_in(self, start: str) -> int:
        """The port that the first line of this start names."""
        address = self.line(start).split()[1]  # http://HOST:PORT/..., or HOST:PORT, or HOST:PORT:
        found = re.search(r":(\d+)(?:[/:]\S*)?$", address)
        assert found is not None, address
        return int(found[1])

    def wait_for(self, start: str, seconds: float = DEADLINE) -> None:
        """Wait for a line that starts so."""

        def said() -> bool:
            has_ended = self.process.poll() is not None
            if has_ended:
                self._read_to_the_end()
            if any(line.startswith(start) for line in self.lines):
                return True
            assert not has_ended, "\n".join(self.errors)
            return False

        wait_until(said, f"it says {start!r}", seconds)

    def hang_up(self) -> None:
        """Have it load its models again."""
        self.process.send_signal(signal.SIGHUP)

    def join(self) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(DEADLINE)
        self._read_to_the_end()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code

    def _read_to_the_end(self) -> None:
        """What it said last may still be in the pipes."""
        for reader in self._readers:
            reader.join(DEADLINE)

    def stop(self) -> object:
        """End it if it has not ended."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class ServerProcess(StartedCommand):
    """A server in a process of its own.

    Args:
        bundle: to serve; None: what the flags say.
        wait: for "serving".
        prelude: Python to run in it first.
        flags: of `clickcut serve`, as keywords.
    """

    def __init__(
        self, bundle: Path | None, wait: bool = True, prelude: str = "", **flags: object
    ) -> None:
        settings: dict[str, object] = {
            "model": bundle,
            "address": "127.0.0.1:0",
            "drain_seconds": 5,
            "workers": 2,
            "threads": 1,
        }
        settings |= flags
        words = [
            word
            for name, value in settings.items()
            for single in (value if isinstance(value, list) else [value])
            if single is not None
            for word in (f"--{name.replace('_', '-')}", *([] if single is True else [str(single)]))
        ]
        super().__init__("-c", f"{prelude}\n{_MAIN}", "serve", *words)
        try:
            self.wait_for("address")
            self.port = self.port_in("address")
            self.address = f"127.0.0.1:{self.port}"
            if wait:
                self.wait_for("serving", START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.join()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        self.kill()  # one that has ended is only joined: pipes left open would fail a later test


_MAIN = "from clickcut.cli import main; main()"


def run_server(*words: str, prelude: str = "") -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout and of stderr of a server that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-c", f"{prelude}\n{_MAIN}", "serve", "--address", "127.0.0.1:0", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=server_environment(),
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


class Gate:
    """Holds the network of a server, so that a request can be caught while it computes."""

    def __init__(self, folder: Path) -> None:
        self._closed, self._reached = folder / "closed", folder / "reached"

    @property
    def prelude(self) -> str:
        return f"""
import pathlib, time
from clickcut.backends.onnx_runtime import OnnxPredictor
closed, reached = pathlib.Path({str(self._closed)!r}), pathlib.Path({str(self._reached)!r})
real = OnnxPredictor.predict
def predict(self, batch):
    while closed.exists():
        reached.touch()
        time.sleep(0.005)
    return real(self, batch)
OnnxPredictor.predict = predict
"""

    @property
    def reached(self) -> bool:
        """Whether a prediction waits at the gate."""
        return self._reached.exists()

    def close(self) -> None:
        self._reached.unlink(missing_ok=True)
        self._closed.touch()

    def wait(self) -> None:
        wait_until(lambda: self.reached, "a prediction waits at the gate")

    def open(self) -> None:
        self._closed.unlink()


class Clock:
    """The clock by which a server finds sessions idle: stands still until a test advances it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._seconds = 0.0
        self.advance(0.0)

    @property
    def prelude(self) -> str:
        return f"""
import pathlib, time, types
from clickcut.server import session_store, stream
file = pathlib.Path({str(self._file)!r})
session_store.time = stream.time = types.SimpleNamespace(
    monotonic=lambda: float(file.read_text()), perf_counter=time.perf_counter
)
"""

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        partial = self._file.with_suffix(".partial")
        partial.write_text(str(self._seconds))
        partial.replace(self._file)


def gauge(server: ServerProcess, name: str) -> float:
    """A number that the server reports."""
    url = server.line("metrics").split()[1]
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        text = answer.read().decode()
    return float(next(x.split()[-1] for x in text.splitlines() if x.startswith(f"{name} ")))


def server_environment() -> dict[str, str]:
    """Without settings of the machine that runs the tests."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CLICKCUT_")}


# ---- a raw client: exactly the messages of the contract


class RawStream:
    """A session stream without any of the client's help.

    Args:
        address: of the server.
        options: of the channel.
    """

    def __init__(self, address: str, *options: tuple[str, int]) -> None:
        options = (("grpc.max_receive_message_length", -1), *options)
        self._channel = grpc.insecure_channel(address, options)
        stub = clickcut_pb2_grpc.ClickcutStub(self._channel)
        self._requests: list[pb.SessionRequest | None] = []
        self._more = threading.Semaphore(0)
        self.call = stub.Session(self._outgoing(), timeout=4 * DEADLINE)

    def _outgoing(self) -> Iterator[pb.SessionRequest]:
        while True:
            self._more.acquire()
            request = self._requests.pop(0)
            if request is None:
                return
            yield request

    def send(self, request: pb.SessionRequest) -> None:
        self._requests.append(request)
        self._more.release()

    def receive(self) -> pb.SessionReply:
        return next(self.call)

    def ask(self, request: pb.SessionRequest | None = None, **fields: Any) -> pb.SessionReply:
        self.send(request or pb.SessionRequest(**fields))
        return self.receive()

    def half_close(self) -> None:
        self._requests.append(None)
        self._more.release()

    def status(self) -> grpc.RpcError:
        """How the stream ended."""
        try:
            reply = next(self.call)
        except StopIteration:
            return self.call
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"the stream goes on: {reply}")

    def close(self) -> None:
        self.half_close()
        self.call.cancel()
        self._channel.close()

    def __enter__(self) -> RawStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- a line that can be cut


class Line:
    """A TCP proxy to a server, to be cut and mended.

    Attributes:
        sent: bytes that clients sent.
    """

    def __init__(self, port: int) -> None:
        self.sent = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._up = True
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Break all connections, refuse new ones."""
        self._up = False
        self._break()

    def mend(self) -> None:
        self._up = True

    def lead_to(self, port: int) -> None:
        """Lead the connections that follow to another server."""
        self._target = port

    def close(self) -> None:
        self._up = False
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _break(self) -> None:
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # gone already

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._up:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # the server is gone, for now
                client.close()
                continue
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pump, args=(source, target), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with source:
            try:
                is_upward = target.getpeername()[1] == self._target
                while data := source.recv(65536):
                    self.sent += len(data) if is_upward else 0
                    target.sendall(data)
            except OSError:
                pass  # cut
            finally:
                with contextlib.suppress(OSError):  # cut from the other side
                    target.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
