"""The agent function for CVAT, in the real agent of cvat-cli, against a stub of CVAT's routes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integrations.cvat_packages import VARIABLE, make_importable
from integrations.cvat_stub import CvatStub, interact
from PIL import Image
from server.harness import DEADLINE, ServerProcess, image_file, server_environment

from clickcut.client import Client

make_importable("cvat_sdk", "cvat_cli")
import cvat_sdk.auto_annotation as cvataa  # noqa: E402
from cvat_sdk.masks import decode_mask  # noqa: E402

from clickcut_cvat import agent  # noqa: E402

IMAGE = image_file()  # 160 x 120
A, B = [80.5, 60.5], [30.2, 20.9]

_MAIN = f"""
import os, sys
sys.path.append(os.environ.get({VARIABLE!r}) or sys.path[-1])
if __name__ == "__main__":
    from cvat_cli.__main__ import main
    sys.exit(main())
"""


def cvat_cli(stub: CvatStub, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "cvat.py").write_text(_MAIN)
    program = [sys.executable, str(folder / "cvat.py")]
    return subprocess.run(
        [*program, "--server-host", stub.url, "--auth", "me:pass", "function", *words],
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
        env=server_environment() | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def parameters(address: str) -> list[str]:
    module = ["--function-module", "clickcut_cvat.agent"]
    return [*module, "-p", f"server=str:{address}", "-p", "wait_seconds=float:5"]


def test_an_agent_answers_requests(server: ServerProcess, tmp_path: Path) -> None:
    requests = [
        interact([A]),
        interact([A], [B]),
        interact([A], [[500.0, 3.0]]),
        interact([]),
        interact([A], [B]),
    ]
    with CvatStub(IMAGE, requests).serving() as stub:
        words = "run-agent", "3", *parameters(server.address), "--burst"
        done = cvat_cli(stub, *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    outcomes = [stub.answers[f"r{n}"][0] for n in (1, 2, 3, 4, 5)]
    assert outcomes == ["complete", "complete", "fail", "fail", "complete"], done.stderr
    assert "(500, 3) is outside the image of 160 x 120" in stub.answers["r3"][1]["exc_info"]
    assert "not enough positive points" in stub.answers["r4"][1]["exc_info"]
    assert stub.answers["r2"][1]["shapes"] == stub.answers["r5"][1]["shapes"]
    (shape,) = stub.answers["r2"][1]["shapes"]
    assert shape["type"] == "mask"
    found = decode_mask(shape["points"], image_width=160, image_height=120)
    with Client(server.address) as client, client.open(IMAGE) as session:
        session.click(80, 60)
        wanted = session.click(30, 20, positive=False)
    assert wanted.any()
    assert np.array_equal(found, wanted)
    assert stub.frames_sent == 1


def test_creating_the_function(server: ServerProcess, tmp_path: Path) -> None:
    with CvatStub(IMAGE, []).serving() as stub:
        words = "create-native", "clickcut", *parameters(server.address)
        done = cvat_cli(stub, *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3"
    (created,) = stub.created
    assert (created["kind"], created["provider"]) == ("interactor", "native")
    assert (created["min_pos_points"], created["min_neg_points"]) == (1, 0)


# ---- the function by itself


class Prompts:
    def __init__(self, positive: object, negative: object = ()) -> None:
        self.pos_points, self.neg_points, self.bounding_box = positive, negative, None


def test_no_engine_is_said_by_each_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clickcut_cvat.engine.RETRY_SECONDS", 0.2)
    function = agent.create("127.0.0.1:9", wait_seconds=0.2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "no connection to a server at 127.0.0.1:9" in line
    with pytest.raises(cvataa.BadFunctionError, match="no connection to a server at 127"):
        function.preprocess_image(None, Image.new("RGB", (160, 120)))
    with pytest.raises(cvataa.BadFunctionError, match="no connection to a server at 127"):
        function.detect(None, IMAGE, Prompts([A]))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts([]), "no positive point"),
        (Prompts([(161, 1)]), "outside the image"),
        (Prompts([("a", 1)]), "must be a number"),
    ],
)
def test_bad_points(server: ServerProcess, prompts: Prompts, message: str) -> None:
    function = agent.create(server.address)
    with pytest.raises(cvataa.BadFunctionError, match=message):
        function.detect(None, IMAGE, prompts)


def test_an_image_over_the_limit(server: ServerProcess) -> None:
    """The engine of these tests takes 24 MiB."""
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3700, 3)).astype(np.uint8)
    function = agent.create(server.address)
    with pytest.raises(cvataa.BadFunctionError) as raised:
        function.preprocess_image(None, Image.fromarray(noise))
    assert len(str(raised.value).splitlines()) == 1


def test_a_picture_is_sent_as_displayed(server: ServerProcess) -> None:
    function = agent.create(server.address)
    turned = Image.new("RGB", (160, 120))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    out = io.BytesIO()
    turned.save(out, "JPEG", exif=exif)
    out.seek(0)
    data = function.preprocess_image(None, Image.open(out))
    assert Image.open(io.BytesIO(data)).size == (120, 160)
    assert function.detect(None, data, Prompts([(119.5, 159.5)]))[0].type == "mask"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I"])
def test_every_kind_of_picture(server: ServerProcess, mode: str) -> None:
    source: Any = Image.open(io.BytesIO(IMAGE))
    if mode.startswith("I"):
        deep = np.asarray(source.convert("L")).astype(np.uint16) * 8
        picture = Image.fromarray(deep)
        picture = picture if mode == "I;16" else picture.convert("I")
    else:
        picture = source.convert(mode)
    assert picture.mode == mode
    function = agent.create(server.address)
    data = function.preprocess_image(None, picture)
    (shape,) = function.detect(None, data, Prompts([A]))
    mask = decode_mask(shape.points, image_width=160, image_height=120)
    assert mask[60, 80]
