"""The serverless function for CVAT: the handler as nuclio calls it, and the files it deploys."""

from __future__ import annotations

import base64
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integrations.cvat_packages import make_importable
from server.harness import Line, ServerProcess, encode, image_file, server_environment
from typer.testing import CliRunner

from clickcut.client import Client
from clickcut.errors import EventError
from clickcut_cvat import serverless
from clickcut_cvat.cli import app
from clickcut_cvat.function_files import write_function

make_importable("nuclio_sdk")
import nuclio_sdk  # noqa: E402
from nuclio_sdk.logger import JSONFormatter, Logger  # noqa: E402

IMAGE = image_file()  # 160 x 120


class Function:
    """The function as nuclio runs it, with what it has logged."""

    def __init__(self) -> None:
        self._log = io.StringIO()
        logger = Logger(logging.DEBUG)
        logger.set_handler("default", self._log, JSONFormatter())
        self.context = nuclio_sdk.Context(logger)

    def start(self) -> Function:
        serverless.init_context(self.context)
        return self

    def call(self, body: object, content_type: str = "application/json") -> Any:
        event = nuclio_sdk.Event(body=body, content_type=content_type)
        return serverless.handler(self.context, event)

    @property
    def log(self) -> str:
        return self._log.getvalue()


def request(positive: object, negative: object = (), image: bytes = IMAGE) -> dict[str, Any]:
    return {
        "image": base64.b64encode(image).decode(),
        "pos_points": positive,
        "neg_points": list(negative) if isinstance(negative, tuple) else negative,
        "obj_bbox": None,
    }


def whole(response: Any, width: int = 160, height: int = 120) -> np.ndarray[Any, Any]:
    """The mask as CVAT's browser places it (tools-control.tsx, runInteractionRequest)."""
    assert response.status_code == 200, response.body
    assert response.content_type == "application/json"
    reply = json.loads(response.body)
    left, top, right, bottom = reply["bounds"]
    rows = np.array(reply["mask"])
    assert rows.shape == (bottom - top + 1, right - left + 1)
    assert set(np.unique(rows)) <= {0, 1}
    mask = np.zeros((height, width), np.bool_)
    mask[top : bottom + 1, left : right + 1] = rows
    return mask


@pytest.fixture
def function(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    monkeypatch.setenv("CLICKCUT_SERVER", server.address)
    yield (started := Function().start())
    started.context.user_data.interactor.close()


def test_the_mask_is_that_of_the_engine(function: Function, server: ServerProcess) -> None:
    assert "is ready" in function.log
    function.call(request([[80.5, 60.5]]))
    found = whole(function.call(request([[80.5, 60.5]], [[30.2, 20.9]])))
    with Client(server.address) as client, client.open(IMAGE) as session:
        session.click(80, 60)
        wanted = session.click(30, 20, positive=False)
    assert wanted.any()
    assert np.array_equal(found, wanted)


def test_a_body_that_nuclio_has_not_parsed(function: Function) -> None:
    body = json.dumps(request([[80.5, 60.5]])).encode()
    assert whole(function.call(body, "text/plain"))[60, 80]


def test_the_reply_grows_with_the_object_and_not_with_the_image(function: Function) -> None:
    pixels = np.full((1500, 2000, 3), 90, np.uint8)
    pixels[700:760, 900:980] = (210, 60, 50)
    body = request([[940.5, 730.5]], image=encode(pixels[:, :, ::-1]))
    response = function.call(body)
    mask = whole(response, 2000, 1500)
    assert mask[730, 940]
    assert len(response.body) < pixels.shape[0] * pixels.shape[1]


def test_an_empty_mask_is_a_reply(function: Function) -> None:
    reply = serverless._reply(np.zeros((120, 160), np.bool_))
    assert reply == {"mask": [[0]], "bounds": [0, 0, 0, 0]}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "the request is not JSON"),
        ([1], 400, "the request must be an object"),
        (request([[1, 1]]) | {"image": "%%%"}, 400, "the image is not valid base64"),
        (request([[1, 1]]) | {"image": "QUJ"}, 400, "the image is not valid base64"),
        (request([[1, 1]]) | {"image": None}, 400, "image must be a file encoded as base64"),
        (request([[1, 1]], image=b"text"), 400, ""),
        (request([[1, 1]], image=b""), 400, ""),
        (request([]), 400, "there is no positive point"),
        (request(None), 400, "pos_points must be a list"),
        (request([[1, 1]], None), 200, ""),
        (request([[161, 1]]), 400, "the point (161, 1) is outside the image of 160 x 120"),
        (request([[1, 1]] * 501), 413, "at most 500 points"),
        (request([[1, 1]]) | {"obj_bbox": [[1, 1], [9, 9]]}, 400, "boxes are not supported"),
    ],
)
def test_bad_requests(function: Function, body: object, status: int, message: str) -> None:
    response = function.call(body)
    assert response.status_code == status
    if status != 200:
        assert message in response.body
        assert len(response.body.splitlines()) == 1
        assert response.body in json.loads(function.log.splitlines()[-1])["message"]
    assert whole(function.call(request([[80.5, 60.5]])))[60, 80]  # it goes on


def test_an_image_file_over_the_limit(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serverless, "MAX_IMAGE_BYTES", 1000)
    response = function.call(request([[1, 1]], image=bytes(1004)))
    assert response.status_code == 413
    assert "more than 1,000 bytes; scale it down" in response.body


def test_an_image_that_the_engine_refuses(function: Function) -> None:
    """The engine of these tests takes 24 MiB."""
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3600, 3)).astype(np.uint8)
    data = encode(noise, ".bmp")
    response = function.call(request([[1, 1]], image=data))
    assert response.status_code in (400, 413)
    assert len(response.body.splitlines()) == 1


def test_an_engine_that_starts_later(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Line(server.port) as line:
        line.cut()
        timer = threading.Timer(3.0, line.mend)  # later than the client would wait by itself
        timer.start()
        monkeypatch.setenv("CLICKCUT_SERVER", line.address)
        function = Function().start()
        timer.join()
        assert "is ready" in function.log
        function.context.user_data.interactor.close()


def test_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKCUT_SERVER", "127.0.0.1:9")
    monkeypatch.setattr(serverless, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr("clickcut_cvat.engine.RETRY_SECONDS", 0.2)
    function = Function().start()
    assert "no connection to a server at 127.0.0.1:9" in function.log
    response = function.call(request([[1, 1]]))
    assert response.status_code == 503
    assert "no connection to a server at 127.0.0.1:9" in response.body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLICKCUT_SERVER", "http://engine"),
        ("CLICKCUT_MAX_SESSIONS", "0"),
        ("CLICKCUT_MAX_SESSIONS", "9" * 100),
        ("CLICKCUT_CA", "not/there"),
    ],
)
def test_settings_that_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(EventError):
        Function().start()


# ---- the files


def test_the_files_that_nuclio_deploys(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    wheel = tmp_path / "clickcut-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    folder = tmp_path / "function"
    written = write_function(folder, "engine:50051", str(wheel))
    assert sorted(p.name for p in written) == sorted(["main.py", "function.yaml", wheel.name])
    document = yaml.safe_load((folder / "function.yaml").read_text())
    notes, spec = document["metadata"]["annotations"], document["spec"]
    # Read as CVAT reads them (lambda_manager/views.py, LambdaFunction).
    assert notes["type"] == "interactor"
    assert (int(notes["version"]), int(notes["min_pos_points"])) == (2, 1)
    assert int(notes["min_neg_points"]) == 0
    assert json.loads(notes["spec"] or "[]") == []
    assert not {"startswith_box", "startswith_box_optional"} & notes.keys()
    environment = {item["name"]: item["value"] for item in spec["env"]}
    assert environment == {
        "CLICKCUT_SERVER": "engine:50051",
        "CLICKCUT_TLS": "0",
        "CLICKCUT_CA": "",
    }
    (trigger,) = spec["triggers"].values()
    assert trigger["attributes"]["maxRequestBodySize"] > 4 * serverless.MAX_IMAGE_BYTES / 3
    (step,) = spec["build"]["directives"]["postCopy"]
    assert step["value"] == f"pip install --no-cache-dir /opt/nuclio/{wheel.name}"
    module, name = spec["handler"].split(":")
    code = f"import {module}; assert callable({module}.{name}) and {module}.init_context"
    environment = server_environment() | {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)


def test_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "function"
    words = [str(folder), "--server", "engine:50051", "--package", "clickcut"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.output.split() == [str(folder / name) for name in ("main.py", "function.yaml")]


def test_existing_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("mine")
    with pytest.raises(EventError, match=r"has main\.py already"):
        write_function(tmp_path, "engine:50051", "clickcut[x]")
    assert [p.name for p in tmp_path.iterdir()] == ["main.py"]
    write_function(tmp_path, "engine:50051", "clickcut[x]", overwrite=True)
    assert "clickcut_cvat" in (tmp_path / "main.py").read_text()
    assert "'clickcut[x]'" in (tmp_path / "function.yaml").read_text()


@pytest.mark.parametrize(
    "wrong", [{"server": "engine"}, {"package": "gone.whl"}, {"ca": Path("gone.pem")}]
)
def test_wrong_settings_write_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"server": "engine:50051", "package": "clickcut"} | wrong
    with pytest.raises(EventError):
        write_function(tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()
