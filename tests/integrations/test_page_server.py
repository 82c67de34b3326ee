"""The page's server without a browser: who may talk to it, and what hostile frames meet."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from integrations.page_harness import PageProcess
from server.harness import (
    DEADLINE,
    Gate,
    ServerProcess,
    image_file,
    server_environment,
    write_bundle,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from clickcut.client import Client
from clickcut.encoding import from_rle, to_rle
from clickcut.server.token_file import new_token
from clickcut.v1 import clickcut_pb2 as pb
from clickcut_page.guard import COOKIE
from clickcut_page.settings import MAX_FRAME_BYTES, PageSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")) as process:
        yield process


@pytest.fixture(scope="module")
def page(toy_engine: ServerProcess) -> Iterator[PageProcess]:
    with PageProcess("--server", toy_engine.address, "--max-image-mib", "1") as process:
        yield process


def ask(
    page: PageProcess, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=DEADLINE)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def joined(page: PageProcess, origin: str = "", **options: Any) -> ClientConnection:
    origin = origin or f"http://127.0.0.1:{page.port}"
    url = f"ws://127.0.0.1:{page.port}/session"
    patience = {"open_timeout": DEADLINE, "close_timeout": DEADLINE, "ping_interval": None}
    return connect(url, origin=origin, max_size=None, **patience, **options)


def exchange(socket: ClientConnection, **fields: Any) -> pb.SessionReply:
    socket.send(pb.SessionRequest(**fields).SerializeToString())
    data = socket.recv(DEADLINE)
    assert isinstance(data, bytes), data
    return pb.SessionReply.FromString(data)


# ---- sessions


def test_it_is_ready_when_the_engine_is_warm(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.close()
    with ServerProcess(bundle, wait=False, prelude=gate.prelude) as cold:
        gate.wait()  # it warms up, and answers already
        with PageProcess("--server", cold.address, wait=False) as page:
            page.wait_for("engine")
            assert json.loads(ask(page, "GET", "/health")[1])["engine"] is False
            assert not any(line.startswith("ready") for line in page.lines)
            gate.open()
            page.wait_for("ready")


def test_a_session_is_that_of_the_python_client(
    page: PageProcess, toy_engine: ServerProcess
) -> None:
    data = image_file()
    _, body = ask(page, "POST", "/images", data)
    info = json.loads(body)
    assert (info["width"], info["height"]) == (160, 120)
    with joined(page) as socket:
        opened = exchange(socket, open=pb.Open(image_digest=info["digest"]))
        assert opened.image.width == 160
        rle = exchange(socket, sequence=1, click=pb.Click(x=80, y=60)).result.rle
        assert exchange(socket, sequence=2, click=pb.Click(x=999, y=0)).error.message
        assert exchange(socket, undo=pb.Undo()).result.area == 0
    with Client(toy_engine.address) as client:
        mask = client.open(data).click(80, 60)
    np.testing.assert_array_equal(from_rle(rle.counts, rle.height, rle.width), mask)


def test_how_a_stream_ended_is_told(page: PageProcess) -> None:
    with joined(page) as socket:
        socket.send(pb.SessionRequest(open=pb.Open(image_digest="0" * 64)).SerializeToString())
        status = json.loads(socket.recv(DEADLINE))
        assert status["error"] == "ImageNotFoundError"
        with pytest.raises(ConnectionClosed):
            socket.recv(DEADLINE)


@pytest.mark.parametrize("frame", [b"\xff\xff\xff garbage", "text", b"\x0a"])
def test_garbage_frames(page: PageProcess, frame: bytes | str) -> None:
    with joined(page) as socket:
        socket.send(frame)
        status = json.loads(socket.recv(DEADLINE))
        assert status["error"] == "EventError"
        assert "SessionRequest" in status["message"]
    answer, _ = ask(page, "GET", "/health")
    assert answer.status == 200


def flood(socket: ClientConnection) -> None:
    socket.send(b"\0" * (MAX_FRAME_BYTES + 1))
    socket.recv(DEADLINE)


def test_a_frame_that_is_too_large(page: PageProcess) -> None:
    with joined(page) as socket, pytest.raises(ConnectionClosed) as raised:
        flood(socket)
    assert raised.value.rcvd is None or raised.value.rcvd.code == 1009
    assert ask(page, "GET", "/health")[0].status == 200


# ---- who may talk to it


def test_other_origins_are_refused(page: PageProcess) -> None:
    for origin in ("http://evil.example", f"http://127.0.0.1:{page.port + 1}", "null"):
        with pytest.raises(InvalidStatus):
            joined(page, origin)
        answer, _ = ask(page, "POST", "/images", b"x", Origin=origin)
        assert answer.status == 403
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{page.port}/session")  # none is named


def test_other_names_are_refused(page: PageProcess) -> None:
    answer, body = ask(page, "GET", "/", Host=f"evil.example:{page.port}")
    assert answer.status == 421
    assert b"--allow-host" in body
    answer, _ = ask(page, "GET", "/", Host=f"localhost:{page.port}")
    assert answer.status == 200
    assert "default-src 'self'" in (answer.headers["Content-Security-Policy"] or "")


def test_behind_a_proxy_under_another_name(toy_engine: ServerProcess) -> None:
    with PageProcess("--server", toy_engine.address, "--allow-host", "labels.example") as page:
        for host in ("labels.example", f"127.0.0.1:{page.port}"):
            answer, _ = ask(
                page, "POST", "/images", image_file(), Host=host, Origin="https://labels.example"
            )
            assert answer.status == 200
        with joined(page, "https://labels.example"):
            pass
        answer, _ = ask(page, "POST", "/images", image_file(), Origin="https://evil.example")
        assert answer.status == 403


@pytest.mark.parametrize(
    ("settings", "host", "accepted"),
    [
        ({}, "127.0.0.1:80", True),
        ({}, "[::1]:80", True),
        ({}, "evil.example", False),
        ({"host": "0.0.0.0"}, "192.168.1.7:8321", True),
        ({"host": "0.0.0.0"}, "evil.example", False),
        ({"allowed_hosts": ("labels.example",)}, "labels.example:443", True),
        ({}, "", False),
    ],
)
def test_hosts(settings: dict[str, Any], host: str, accepted: bool) -> None:
    assert PageSettings("x", **settings).accepts_host(host) is accepted


def test_a_token(toy_engine: ServerProcess) -> None:
    with PageProcess("--server", toy_engine.address, "--token", "s3cret") as page:
        assert page.url.endswith("/?token=s3cret")
        assert ask(page, "GET", "/")[0].status == 401
        assert ask(page, "GET", "/?token=wrong")[0].status == 401
        assert ask(page, "POST", "/images", b"x")[0].status == 401
        with pytest.raises(InvalidStatus):
            joined(page)
        answer, _ = ask(page, "GET", "/?token=s3cret")
        assert answer.status == 303
        cookie = answer.headers["Set-Cookie"].split(";")[0]
        assert cookie == f"{COOKIE}=s3cret"
        assert "httponly" in answer.headers["Set-Cookie"].lower()
        assert ask(page, "GET", "/", Cookie=cookie)[0].status == 200
        with joined(page, additional_headers={"Cookie": cookie}) as socket:
            socket.send(b"\xff")
            assert "EventError" in str(socket.recv(DEADLINE))


def test_an_engine_that_asks_for_a_certificate_and_a_token(tmp_path: Path) -> None:
    from server.authority import Authority

    authority = Authority(tmp_path)
    engine_pair, page_pair = authority.issue("engine"), authority.issue("page")
    token, line = new_token("page")
    secret = tmp_path / "token"
    secret.write_text(token)
    with ServerProcess(
        write_bundle(tmp_path / "toy.onnx"),
        tls_cert=engine_pair.cert,
        tls_key=engine_pair.key,
        tls_client_ca=authority.path,
        token_lines=line,
    ) as engine:
        words = [
            *("--server", engine.address, "--ca", str(authority.path)),
            *("--cert", str(page_pair.cert), "--key", str(page_pair.key)),
        ]
        with (
            PageProcess(*words, "--token-file", str(secret)) as page,
            joined(page) as socket,
        ):
            assert json.loads(ask(page, "POST", "/images", image_file())[1])["width"] == 160
            request = pb.SessionRequest(open=pb.Open(image=image_file()))
            socket.send(request.SerializeToString())
            assert pb.SessionReply.FromString(socket.recv(DEADLINE)).session_id
        ended = subprocess.run(
            [sys.executable, "-m", "clickcut_page", "--port", "0", *words],
            capture_output=True,
            text=True,
            env=server_environment(),
            timeout=DEADLINE,
            check=False,
        )
        assert ended.returncode == 2  # waiting would not help
        assert "needs a valid token" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1, ended.stderr


# ---- images and exports


@pytest.mark.parametrize("path", ["/images", "/display"])
def test_images_that_are_refused(page: PageProcess, path: str) -> None:
    answer, body = ask(page, "POST", path, b"no image")
    assert (answer.status, json.loads(body)["error"]) == (400, "ImageError")
    answer, body = ask(page, "POST", path, b"\0" * (2**20 + 1))
    assert answer.status == 400
    assert "scale it down" in json.loads(body)["message"]


def test_the_contract_is_that_of_the_engine(page: PageProcess) -> None:
    _, body = ask(page, "GET", "/contract")
    [file] = FileDescriptorSet.FromString(body).file
    assert file.SerializeToString() == pb.DESCRIPTOR.serialized_pb


def export(**changes: Any) -> bytes:
    mask = np.zeros((10, 20), np.bool_)
    mask[2:6, 3:9] = True
    mask[3, 4] = False
    item = {"label": "käfer", "counts": to_rle(mask).decode()}
    size = {"width": 20, "height": 10}
    return json.dumps(
        {"format": "yolo", "name": "ü b.jpg", **size, "objects": [item]} | changes
    ).encode()


def test_an_export_says_what_was_lost(page: PageProcess) -> None:
    answer, body = ask(page, "POST", "/export", export())
    assert answer.status == 200, body
    assert answer.headers["Content-Disposition"] == (
        f"attachment; filename*=UTF-8''{quote('ü b.zip')}"
    )
    notes = json.loads(unquote(answer.headers["X-Clickcut-Notes"]))
    assert notes == ["ü b.jpg, käfer: 1 hole is lost, a polygon of YOLO has none"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (export(format="psd"), "no such format"),
        (export(width=10**6, height=10**6), "width or height"),
        (export(name=""), "name"),
        (export(objects=[]), "no object to save"),
        (export(objects=[{"label": "x"}]), "objects[0]"),
        (export(objects=[{"label": "x", "counts": "zz"}]), "object 1 (x)"),
        (export(tolerance="much"), "tolerance"),
        (export(tolerance=-1), "tolerance"),
    ],
)
def test_exports_that_are_refused(page: PageProcess, body: bytes, words: str) -> None:
    answer, text = ask(page, "POST", "/export", body)
    assert answer.status == 400
    assert words in json.loads(text)["message"]


@pytest.mark.parametrize("name", ["../../x.jpg", "..", "a/../..\\b.jpg", "C:\\x.jpg"])
def test_names_of_exports_hold_no_folders(page: PageProcess, name: str) -> None:
    answer, _ = ask(page, "POST", "/export", export(name=name, format="labelme"))
    shown = unquote(answer.headers["Content-Disposition"].partition("''")[2])
    assert "/" not in shown
    assert "\\" not in shown


def test_files_outside_the_static_folder_are_not_served(page: PageProcess) -> None:
    for path in ("/../app.py", "/%2e%2e/app.py", "/js/../../app.py", "/..%2fapp.py"):
        assert ask(page, "GET", path)[0].status == 404


@pytest.mark.slow
def test_an_address_in_use(page: PageProcess, toy_engine: ServerProcess) -> None:
    with pytest.raises(AssertionError, match=r"cannot listen on .* name another --port"):
        PageProcess("--server", toy_engine.address, "--port", str(page.port))


def test_the_wheel_holds_the_static_files() -> None:
    folder = Path(__file__).parents[2] / "integrations" / "clickcut_page" / "static"
    for name in ("index.html", "style.css", "js/main.js", "vendor/protobuf.js"):
        assert (folder / name).is_file()
    for text in (path.read_text() for path in folder.rglob("*.html")):
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text  # nothing comes from elsewhere
