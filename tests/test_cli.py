"""The command line as a stranger meets it: help, `segment`, `models`, further commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from server.harness import ServerProcess, image_file, picture, server_environment, write_bundle

from clickcut import cli, overlay
from clickcut.images import prepare
from clickcut.predictor import load_predictor
from clickcut.session import ClickSession


def run(*words: object, prelude: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{prelude}\nfrom clickcut.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        env=server_environment() | {"COLUMNS": "100"},
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    path.write_bytes(image_file())
    return path


# ---- help


@pytest.mark.parametrize("words", [["--help"], []], ids=["--help", "nothing"])
def test_help_names_the_commands(words: list[str]) -> None:
    done = run(*words)
    text = done.stdout + done.stderr
    for command in ("serve", "segment", "models", "demo"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize("command", ["serve", "segment", "models", "demo"])
def test_every_command_has_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "Options:" in done.stdout


def test_serve_help_has_flags_and_environment() -> None:
    text = run("serve", "--help").stdout
    for word in ("--address", "--cut-solver grid|pymaxflow", "CLICKCUT_MAX_SESSIONS", "--tls-key"):
        assert word in text


def test_help_imports_nothing_heavy() -> None:
    heavy = ("numpy", "cv2", "numba", "grpc", "onnxruntime", "pydantic", "clickcut_bench")
    prelude = f"""
import atexit, sys
atexit.register(lambda: print("heavy:", [m for m in {heavy} if m in sys.modules]))"""
    assert "heavy: []" in run("--help", prelude=prelude).stdout


# ---- segment


def masks_of(model: Path, clicks: list[tuple[float, float, bool]]) -> NDArray[np.bool_]:
    session = ClickSession(prepare(image_file()), load_predictor(model))
    for click in clicks:
        session.click(*click)
    return session.mask


def test_segment_writes_mask_and_overlay(model: Path, photo: Path, tmp_path: Path) -> None:
    out, picture_out = tmp_path / "mask.png", tmp_path / "overlay.png"
    done = run(
        *("segment", photo, "--click", "80,60", "--click", "20,20,-", "--model", model),
        *("--out", out, "--overlay", picture_out),
    )
    assert done.returncode == 0, done.stderr
    assert "with 2 clicks" in done.stdout
    mask = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    wanted = masks_of(model, [(80, 60, True), (20, 20, False)])
    np.testing.assert_array_equal(mask, np.where(wanted, 255, 0))
    assert cv2.imread(str(picture_out)).shape == (120, 160, 3)


def test_segment_starts_from_a_mask(model: Path, photo: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    run("segment", photo, "--click", "80,60", "--model", model, "--out", first)
    words = ("--start-from", first, "--click", "20,20,-", "--model", model, "--out", second)
    assert run("segment", photo, *words).returncode == 0
    assert cv2.imread(str(second), cv2.IMREAD_UNCHANGED)[20, 20] == 0


def test_segment_on_a_server_gives_the_same(model: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.png"
    with ServerProcess(model) as server:
        done = run("segment", photo, "--click", "80,60", "--server", server.address, "--out", out)
        assert done.returncode == 0, done.stderr
        listed = run("models", "--server", server.address)
        assert "toy" in listed.stdout
    mask = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask > 0, masks_of(model, [(80, 60, True)]))


BAD_COMMANDS: dict[str, tuple[list[str], str]] = {
    "nothing to write": (["--click", "80,60"], "--out"),
    "no such image": (["--click", "80,60", "--out", "x.png"], "cannot be read"),
    "a bad click": (["--click", "80;60", "--out", "x.png"], "X,Y"),
    "a bad sign": (["--click", "80,60,minus", "--out", "x.png"], "X,Y"),
    "outside": (["--click", "999,60", "--out", "x.png"], "outside"),
    "a bad name": (["--click", "80,60", "--out", "mask"], "must end in"),
    "no such folder": (["--click", "80,60", "--out", "no/such/mask.png"], "cannot be written"),
    "no server": (["--click", "8,6", "--out", "x.png", "--server", "127.0.0.1:1"], "is it running"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_bad_command_is_one_clear_line(name: str, model: Path, photo: Path) -> None:
    words, expected = BAD_COMMANDS[name]
    image = "no.jpg" if name == "no such image" else photo
    done = run("segment", image, "--model", model, *words)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_model_is_one_clear_line(photo: Path) -> None:
    done = run("segment", photo, "--click", "1,1", "--out", "x.png", "--model", photo)
    assert done.returncode == 2
    assert "not a model" in done.stderr
    assert "Traceback" not in done.stderr


# ---- models


def test_models_describes_given_files(model: Path) -> None:
    done = run("models", model)
    assert done.returncode == 0, done.stderr
    for word in ("toy", "one convolution", "64 x 64", "disc"):
        assert word in done.stdout
    described = json.loads(run("models", model, "--json").stdout)
    assert described[-1]["architecture"] == "one convolution"


# ---- commands of other packages


def with_entry_points(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = EntryPoints(
        EntryPoint(name=f"extra{k}", value=value, group=cli.COMMANDS)
        for k, value in enumerate(values)
    )
    monkeypatch.setattr(cli, "entry_points", lambda group: points)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line in this process, from nothing."""
    import typer

    monkeypatch.setattr(cli, "app", typer.Typer(name="clickcut"))
    cli.app.command("first")(lambda: None)

    def call(*words: str) -> int:
        cli.add_commands()
        monkeypatch.setattr(sys, "argv", ["clickcut", *words])
        with pytest.raises(SystemExit) as raised:
            cli.app()
        return int(raised.value.code or 0)

    return call


def test_a_command_of_another_package_gets_its_arguments(
    application: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def extra(args: list[str], prog_name: str) -> None:
        seen.update(args=args, prog_name=prog_name)

    monkeypatch.setitem(sys.modules, "extra_package", SimpleNamespace(app=extra))
    with_entry_points(monkeypatch, "extra_package:app")
    assert application("extra0", "--help", "--flag", "3", "word", "-v") == 0
    assert seen["args"] == ["--help", "--flag", "3", "word", "-v"]
    assert seen["prog_name"] == "clickcut extra0"


def test_a_broken_package_does_not_break_help(
    application: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_entry_points(monkeypatch, "no_such_package:app")
    assert application("--help") == 0
    assert "no_such_package" in capsys.readouterr().out


def test_a_broken_package_says_so_when_it_is_called(
    application: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_entry_points(monkeypatch, "no_such_package:app")
    assert application("extra0") == 2
    assert "cannot be loaded" in capsys.readouterr().err


# ---- overlay


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (375, 500), (2400, 3200)])
def test_overlay_of_any_size(size: tuple[int, int]) -> None:
    height, width = size
    pixels = np.full((height, width, 3), 200, np.uint8)
    mask = np.zeros(size, np.bool_)
    mask[: height // 2 + 1] = True
    out = overlay.draw_overlay(pixels, mask, [(0, 0, True), (width - 1, height - 1, False)])
    assert out.shape == pixels.shape
    assert out.dtype == np.uint8
    assert (pixels == 200).all()
    if height > 100:
        assert (out[height // 4, width // 2] == 200).all()  # selected: as it was
        assert (out[3 * height // 4, width // 2] == 90).all()  # darkened
        line = out[height // 2 - 3 : height // 2 + 4, width // 2]
        assert (line == overlay.OUTLINE).all(axis=1).any()
        assert tuple(out[0, 0]) == overlay.POSITIVE
        assert tuple(out[-1, -1]) == overlay.NEGATIVE


def test_contact_sheet_holds_all_pictures() -> None:
    pictures = [(f"picture {k}", picture(80 + 20 * k, 60)) for k in range(5)]
    sheet = overlay.contact_sheet(pictures, columns=3, width=100)
    assert sheet.shape[1] == 3 * 100 + 4 * 12
    assert sheet.dtype == np.uint8
    assert overlay.contact_sheet(pictures[:1]).shape[1] < 600
