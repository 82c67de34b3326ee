"""Decoding in a process that can be stopped: limits, cancellation, broken processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import picture
from PIL import Image
from server.harness import DEADLINE, has_ended, wait_until

from clickcut.errors import ImageError, LimitError, UnavailableError
from clickcut.image_file import decode, examine, parts, process
from clickcut.image_file.cancellation import Cancellation
from clickcut.image_file.process import Decoder


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def slow_jpeg() -> bytes:
    """A progressive JPEG that passes 12 megapixels 900 times: many seconds of work."""
    data = encoded(np.zeros((3000, 4000), np.uint8), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 900 + data[-2:]


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(seconds=60)
    yield decoder
    decoder.close()


def worker_of(decoder: Decoder) -> process._Worker:
    (worker,) = decoder._idle
    return worker


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG"])
def test_pixels_are_those_of_decoding_here(decoder: Decoder, kind: str) -> None:
    data = encoded(picture(), kind)
    np.testing.assert_array_equal(decoder.decode(data).pixels, decode(data))
    assert len(decoder._idle) == (kind == "TIFF")  # light ones need no process


def test_a_process_is_used_again(decoder: Decoder) -> None:
    decoder.decode(encoded(picture(), "TIFF"))
    first = worker_of(decoder)
    with pytest.raises(ImageError, match="damaged"):
        decoder.decode(encoded(picture(), "TIFF", compression="tiff_lzw")[:-4000])
    turned = decoder.decode(encoded(picture().swapaxes(0, 1), "TIFF"))
    assert turned.pixels.shape == (160, 120, 3)
    assert worker_of(decoder) is first


def test_what_takes_too_long_is_stopped() -> None:
    decoder = Decoder(seconds=0.3)
    try:
        data = slow_jpeg()
        assert not examine(data).light
        with pytest.raises(ImageError, match=r"longer than 0\.3 s; save it again"):
            decoder.decode(data)
        assert not decoder._idle
    finally:
        decoder.close()


def test_a_cancelled_decoding_ends_and_the_next_one_works(decoder: Decoder) -> None:
    decoder.decode(encoded(picture(), "TIFF"))
    pid = worker_of(decoder)._process.pid
    cancellation = Cancellation()
    errors: list[Exception] = []

    def work() -> None:
        try:
            decoder.decode(slow_jpeg(), None, cancellation)
        except UnavailableError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while decoder._idle:  # until it has taken the process
        thread.join(0.01)
    cancellation.cancel()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert len(errors) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert decoder.decode(encoded(picture(), "TIFF")).pixels.shape == (120, 160, 3)


def test_what_is_cancelled_before_it_begins_does_not_begin(decoder: Decoder) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(UnavailableError):
        decoder.decode(encoded(picture(), "TIFF"), None, cancellation)
    assert not decoder._idle


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
def test_memory_is_limited(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(np.zeros((4000, 4000, 3), np.uint8), "TIFF", compression="tiff_lzw")
    assert decoder.decode(data).pixels.shape == (4000, 4000, 3)
    monkeypatch.setattr(parts, "_PILLOW_BYTES", 0)
    monkeypatch.setattr(parts, "_BASE_BYTES", 0)
    with pytest.raises(ImageError, match="memory"):
        decoder.decode(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda rgb: encoded(rgb, "TIFF"),
        lambda rgb: encoded(rgb, "TIFF", compression="jpeg"),
        lambda rgb: encoded(np.dstack([rgb, rgb[..., 0]]), "TIFF", compression="tiff_lzw"),
        lambda rgb: encoded(rgb[..., 0].astype(np.uint16) * 99, "TIFF", compression="tiff_lzw"),
    ],
    ids=["raw", "jpeg", "alpha", "16 bit"],
)
def test_memory_that_is_allowed_is_enough(decoder: Decoder, make) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    assert decoder.decode(make(rgb)).pixels.shape == rgb.shape


def test_a_process_that_died_meanwhile_is_replaced(decoder: Decoder) -> None:
    decoder.decode(encoded(picture(), "TIFF"))
    dead = worker_of(decoder)
    dead._process.kill()
    dead._process.wait()
    assert decoder.decode(encoded(picture(), "TIFF")).pixels.shape == (120, 160, 3)
    assert worker_of(decoder) is not dead


def test_a_process_that_dies_at_work_is_the_images_fault(decoder: Decoder) -> None:
    decoder.decode(encoded(picture(), "TIFF"))
    worker = worker_of(decoder)
    os.kill(worker._process.pid, signal.SIGSTOP)

    def kill() -> None:
        wait_until(lambda: not worker.usable, "it is at work")
        os.kill(worker._process.pid, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(ImageError, match=r"failed on this TIFF image \(SIGKILL"):
        decoder.decode(encoded(picture(), "TIFF"))
    killing.join()


def test_without_a_process_light_images_are_decoded(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(LimitError, match=r"cannot start a process to decode TIFF .* send JPEG"):
        decoder.decode(encoded(picture(), "TIFF"))
    assert decoder.decode(encoded(picture(), "JPEG")).pixels.shape == (120, 160, 3)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LimitError, match="exit code 1"):
        decoder.decode(encoded(picture(), "TIFF"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_process_ends_with_its_caller() -> None:
    script = (
        "import io, numpy as np, os\n"
        "from PIL import Image\n"
        "from clickcut.image_file.process import Decoder\n"
        "buffer = io.BytesIO(); Image.new('RGB', (9, 9)).save(buffer, 'TIFF')\n"
        "decoder = Decoder(); decoder.decode(buffer.getvalue())\n"
        "print(decoder._idle[0]._process.pid, flush=True); os._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    wait_until(lambda: has_ended(int(done.stdout)), "the process has ended")


def test_the_process_imports_neither_kernels_nor_network_nor_server() -> None:
    script = (
        "import sys, clickcut.image_file.worker\n"
        "heavy = {'numba', 'onnxruntime', 'grpc', 'clickcut.cut', 'clickcut.maps'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "PNG"),
        ("RGBA", "PNG"),
        ("RGB", "WEBP"),
        ("P", "GIF"),
        ("I;16", "PNG"),
    ],
)
def test_decoding_takes_no_more_than_it_says(mode: str, kind: str, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    large = np.kron(rgb, np.ones((20, 20, 1), np.uint8))
    if mode == "I;16":
        image = Image.fromarray(large[..., 0].astype(np.uint16) * 200)
    else:
        image = Image.fromarray(large).convert(mode)
    path = tmp_path / "image"
    image.save(path, kind, **({"compress_level": 1} if kind == "PNG" else {}))
    script = (
        "import sys, resource\n"
        "from clickcut.image_file import decode, examine\n"
        "data = open(sys.argv[1], 'rb').read(); says = examine(data).decode_bytes\n"
        "peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); decode(data)\n"
        "sys.exit(f'{peak() - before} of {says}' if peak() - before > says else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
