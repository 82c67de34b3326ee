"""What a person meets first: `import clickcut`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.harness import DEADLINE, ServerProcess, encode, image_file, picture

import clickcut
from clickcut.errors import BundleError, EventError, ImageError, SessionNotFoundError

HEAVY = ("numba", "onnxruntime", "torch", "maxflow", "clickcut.cut", "clickcut.session")


def loaded_after(code: str, *words: str) -> set[str]:
    """Modules in a process after some code."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\nimport sys; print(*sys.modules)", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_import_loads_nothing() -> None:
    loaded = loaded_after("import clickcut; clickcut.__version__; dir(clickcut)")
    assert not loaded & {"numpy", "cv2", "grpc", "google.protobuf", *HEAVY}


def test_a_client_loads_neither_kernels_nor_a_back_end(server: ServerProcess) -> None:
    code = (
        "import sys, clickcut\n"
        "with clickcut.Client(sys.argv[1]) as client:\n"
        "    pixels = __import__('numpy').zeros((20, 30, 3), 'uint8')\n"
        "    with client.open(pixels) as session:\n"
        "        session.click(5, 5); session.polygons(); session.probability(); session.objects()"
    )
    assert not loaded_after(code, server.address) & set(HEAVY)


def test_every_name_is_there() -> None:
    for name in clickcut.__all__:
        assert getattr(clickcut, name) is getattr(clickcut, name)
        assert name in dir(clickcut)
    assert clickcut.__version__ == version("clickcut")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        clickcut.nothing  # noqa: B018


def test_the_command_line_s_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clickcut", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"clickcut {version('clickcut')}\n"


def test_open_takes_a_path_bytes_or_pixels(bundle: Path, tmp_path: Path) -> None:
    pixels = picture()
    path = tmp_path / "photo.png"
    path.write_bytes(image_file())
    masks = []
    for image in (path, str(path), image_file(), pixels):
        with clickcut.open(image, model=str(bundle)) as session:
            masks.append(session.click(80, 60))
    for mask in masks:
        np.testing.assert_array_equal(mask, masks[0])


def test_a_window(bundle: Path, server: ServerProcess) -> None:
    deep = encode(picture()[..., 0].astype(np.uint16) * 4)
    windows: list[tuple[float, float] | None] = [None, (100, 700)]
    with clickcut.Client(server.address) as client:
        for window in windows:
            here = clickcut.open(deep, model=str(bundle), window=window)
            there = client.open(deep, window=window)
            assert here.window == there.window
            assert window is None or here.window == window
            np.testing.assert_array_equal(here.click(80, 60), there.click(80, 60))
    with pytest.raises(ImageError, match="window"):
        clickcut.open(deep, model=str(bundle), window=(5, 5))


def test_what_open_refuses(bundle: Path) -> None:
    model = str(bundle)
    with pytest.raises(ImageError, match="cannot be read"):
        clickcut.open("/no/such/file.jpg", model=model)
    with pytest.raises(ImageError, match="not an image"):
        clickcut.open(b"hello", model=model)
    with pytest.raises(ImageError, match=r"\(H, W, 3\)"):
        clickcut.open(np.zeros((5, 5), np.uint8), model=model)
    with pytest.raises(BundleError):
        clickcut.open(image_file(), model="no-such-model")
    bad: Any
    for bad in ({"threshold": 7}, {"colour": 1}, {"cut": 1}, {"threshold": "a"}, 5):
        with pytest.raises(EventError):
            clickcut.open(image_file(), model=model, parameters=bad)
    with pytest.raises(EventError, match="model must be"):
        clickcut.open(image_file(), model=None)  # type: ignore[arg-type]


def test_a_closed_session(bundle: Path) -> None:
    with clickcut.open(image_file(), model=str(bundle)) as session:
        mask = session.click(80, 60)
    with pytest.raises(SessionNotFoundError, match="closed"):
        session.click(90, 60)
    assert session.mask is mask
    session.close()


def test_a_model_that_changed_is_loaded_again(bundle: Path, tmp_path: Path) -> None:
    from server.harness import write_bundle

    path = write_bundle(tmp_path / "m.onnx", version="1")
    assert clickcut.open(image_file(), model=str(path)).model_version == "1"
    write_bundle(path, version="22")
    assert clickcut.open(image_file(), model=str(path)).model_version == "22"
