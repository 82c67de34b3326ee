"""The command line as a stranger meets it: help, `segment`, `models`, further commands."""

from __future__ import annotations

import json
import shutil
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
from clickcut.backends import load_predictor
from clickcut.bundle import bundled_models
from clickcut.images import prepare
from clickcut.server.settings import Settings
from clickcut.session import ClickSession

pytestmark = pytest.mark.slow  # each starts the command line as a process of its own


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

MODEL_COMMANDS = ("list", "inspect", "verify", "seal", "reload")


@pytest.mark.parametrize("words", [["--help"], []], ids=["--help", "nothing"])
def test_help_names_the_commands(words: list[str]) -> None:
    done = run(*words)
    text = done.stdout + done.stderr
    for command in ("serve", "segment", "models", "demo"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize(
    "command",
    ["serve", "segment", "demo", "models", *(f"models {c}" for c in MODEL_COMMANDS)],
)
def test_every_command_has_help(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert "Options:" in done.stdout


def test_serve_help_has_flags_and_environment() -> None:
    text = run("serve", "--help").stdout
    for word in (
        "--models PATH",
        "--split",
        "--admin-address",
        "CLICKCUT_BACKEND",
        "--address",
        "--cut-solver grid|pymaxflow",
        "CLICKCUT_MAX_SESSIONS",
        "--tls-key",
    ):
        assert word in text


def test_serve_help_shows_defaults() -> None:
    text = " ".join(run("serve", "--help").stdout.split())
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            described = text.partition(f"[env var: CLICKCUT_{name.upper()}]")[0]
            assert described.endswith(f"Default: {field.default:g}. "), name


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


def test_segment_looks_through_a_window(model: Path, tmp_path: Path) -> None:
    grey = cv2.imdecode(np.frombuffer(image_file(), np.uint8), cv2.IMREAD_GRAYSCALE)
    deep, masks = tmp_path / "deep.png", []
    deep.write_bytes(cv2.imencode(".png", grey.astype(np.uint16) * 4)[1])
    for number, words in enumerate([(), ("--window", "0,65535")]):
        out = tmp_path / f"{number}.png"
        done = run("segment", deep, "--click", "80,60", "--model", model, "--out", out, *words)
        assert done.returncode == 0, done.stderr
        masks.append(cv2.imdecode(np.frombuffer(out.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED))
    assert (masks[0] != masks[1]).any()


def test_segment_takes_a_box(model: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.png"
    session = ClickSession(prepare(image_file()), load_predictor(model))
    for words, text in (([], "with a box"), (["--click", "60,50"], "with a box and 1 click")):
        box = ("--box", "20,10,100,90", "--model", model, "--out", out)
        done = run("segment", photo, *box, *words)
        assert done.returncode == 0, done.stderr
        assert text in done.stdout
        session.click(60, 50) if words else session.box(20, 10, 100, 90)
        mask = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask > 0, session.mask)


def test_segment_on_a_server_gives_the_same(model: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.png"
    with ServerProcess(model) as server:
        done = run("segment", photo, "--click", "80,60", "--server", server.address, "--out", out)
        assert done.returncode == 0, done.stderr
        listed = run("models", "--server", server.address)
        assert "toy" in listed.stdout
    mask = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask > 0, masks_of(model, [(80, 60, True)]))


@pytest.mark.slow
def test_any_file_name_can_be_written_and_printed(model: Path, photo: Path) -> None:
    for name in ("m\udce9.png", "h\u00e9 \u4f60.jpg", "-.png"):
        out = photo.parent / name
        done = run("segment", photo, "--click", "80,60", "--model", model, "--out", out)
        assert done.returncode == 0, done.stderr
        assert cv2.imdecode(np.fromfile(out, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (120, 160)
    refused = run("segment", photo, "--click", "8,6", "--model", model, "--out", "m.p\udce9g")
    assert refused.returncode == 2
    assert "must end in" in refused.stderr
    missing = run("segment", "m\udce9.jpg", "--click", "8,6", "--out", "x.png")
    assert missing.returncode == 2
    assert "m\\udce9.jpg: cannot be read" in missing.stderr


def test_segment_and_models_speak_tls(photo: Path, model: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    out = tmp_path / "mask.png"
    with ServerProcess(model, tls_key=key, tls_cert=certificate) as server:
        to_it = ("--server", server.address)
        trusted = (*to_it, "--ca", certificate)
        done = run("segment", photo, "--click", "80,60", *trusted, "--out", out)
        assert done.returncode == 0, done.stderr
        assert cv2.imread(str(out), cv2.IMREAD_UNCHANGED).any()
        assert "toy" in run("models", "list", *trusted).stdout
        for extra, message in (
            ((), "speaks TLS"),
            (("--tls",), "not signed by"),
            (("--ca", photo), "no certificate"),
            (("--ca", "no.pem"), "cannot be read"),
        ):
            refused = run("models", "list", *to_it, *extra)
            assert refused.returncode == 2
            assert message in refused.stderr
            assert "Traceback" not in refused.stderr


BAD_COMMANDS: dict[str, tuple[list[str], str]] = {
    "a window of one number": (
        ["--click", "80,60", "--window", "5", "--out", "x.png"],
        "a window is LOW,HIGH",
    ),
    "nothing to write": (["--click", "80,60"], "--out"),
    "no such image": (["--click", "80,60", "--out", "x.png"], "cannot be read"),
    "a bad click": (["--click", "80;60", "--out", "x.png"], "X,Y"),
    "a bad sign": (["--click", "80,60,minus", "--out", "x.png"], "X,Y"),
    "no prompt": (["--out", "x.png"], "--box"),
    "a bad box": (["--box", "1,2,3", "--out", "x.png"], "X0,Y0,X1,Y1"),
    "a box outside": (["--box", "1,2,300,40", "--out", "x.png"], "beyond the image"),
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
    assert run("models", "list", model).stdout == done.stdout
    described = json.loads(run("models", model, "--json").stdout)
    assert [d["name"] for d in described] == [*bundled_models(), "toy"]
    assert described[-1]["architecture"] == "one convolution"


def test_models_needs_no_back_end_to_list(model: Path) -> None:
    done = run("models", model, prelude="import sys; sys.modules['onnxruntime'] = None")
    assert done.returncode == 0, done.stderr
    assert "toy" in done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_bundle(folder / "toy" / "1.onnx", "toy", "1", sealed=True)
    write_bundle(folder / "toy" / "2.onnx", "toy", "2")
    return folder


def test_models_of_a_repository(repository: Path) -> None:
    lines = run("models", "list", "--models", repository).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["toy@2", "toy@1"]
    lines = run("models", "list", "toy@1", "--models", repository).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["toy@1"]
    inspected = run("models", "inspect", "toy@2", "--models", repository)
    assert inspected.returncode == 0, inspected.stderr
    for words in ("no seal and no hash file", "guidance.encoding", "channels", "version "):
        assert words in inspected.stdout
    (document,) = json.loads(
        run("models", "inspect", "toy@1", "--models", repository, "--json").stdout
    )
    assert (document["protected"], document["version"]) == ("yes", "1")
    assert document["training"] == {"data": "none"}


def test_a_list_in_a_file_has_a_line_for_each_model(tmp_path: Path) -> None:
    name = "a-model-with-a-name-that-is-quite-long-and-then-some"
    path = write_bundle(tmp_path / "m.onnx", name)
    lines = run("models", "list", path).stdout.splitlines()
    assert len(lines) == 1 + len(bundled_models()) + 1
    assert name in lines[-1]


def test_models_verify_names_what_is_wrong(repository: Path) -> None:
    done = run("models", "verify", "--models", repository)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok", "ok"]
    damaged = repository / "toy" / "1.onnx"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    (repository / "other").mkdir()
    (repository / "other" / "7.plan").write_bytes(b"plan")
    done = run("models", "verify", "--models", repository)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = {Path(line.split()[1].rstrip(":")).name: line for line in done.stdout.splitlines()}
    assert lines["2.onnx"].startswith("ok")
    assert lines["1.onnx"].startswith("BAD")
    assert "wrong hash" in lines["1.onnx"]
    assert "7.plan.json is missing beside it" in lines["7.plan"]


def test_models_verify_in_another_back_end(model: Path) -> None:
    done = run("models", "verify", model, "--backend", "onnxruntime-cuda")
    assert done.returncode == 2
    assert "onnxruntime-gpu" in done.stdout


def test_models_seal(repository: Path) -> None:
    path = repository / "toy" / "2.onnx"
    done = run("models", "seal", path)
    assert done.returncode == 0, done.stderr
    (document,) = json.loads(run("models", "inspect", path, "--json").stdout)
    assert document["protected"] == "yes"
    assert document["content_sha256"] in done.stdout
    refused = run("models", "seal", repository / "toy")
    assert refused.returncode == 2
    assert "no such file" in refused.stderr


def test_models_reload(repository: Path) -> None:
    with ServerProcess(None, models=repository, model=None, admin_address="127.0.0.1:0") as server:
        admin = server.line("admin").split()[1]
        (repository / "toy" / "2.onnx").unlink()
        write_bundle(repository / "toy" / "3.onnx", "toy", "3")
        done = run("models", "reload", admin)
        assert done.returncode == 0, done.stderr
        words = [line.split() for line in done.stdout.splitlines()]
        assert words == [["added", "toy@3"], ["removed", "toy@2"], ["kept", "toy@1"]]
        listed = run("models", "--server", server.address).stdout
        assert [line.split()[0] for line in listed.splitlines()[1:]] == ["toy", "toy@1"]
        write_bundle(repository / "toy" / "4.onnx", "toy", "5")
        refused = run("models", "reload", admin)
        assert refused.returncode == 2
        assert "lies where toy@4 belongs" in refused.stderr
    silent = run("models", "reload", admin)
    assert silent.returncode == 2
    assert "--admin-address" in silent.stderr
    assert "Traceback" not in silent.stderr


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


def test_help_says_what_a_command_of_another_package_does(
    application: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    package = tmp_path / "lazy_package"
    package.mkdir()
    (package / "cli.py").write_text(
        '"""`clickcut extra0`: count sheep. More."""\nraise SystemExit\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with_entry_points(monkeypatch, "lazy_package.cli:app")
    assert application("--help") == 0
    assert "Count sheep." in capsys.readouterr().out


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
