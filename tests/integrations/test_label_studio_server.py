"""`clickcut label-studio` as a process, and `init-project`: who may ask, and what is answered."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integrations.page_harness import PageProcess
from integrations.studio_stub import (
    CONFIG,
    IMAGE,
    LEGACY_KEY,
    PERSONAL_KEY,
    StudioStub,
    click,
    predict_document,
)
from server.harness import (
    DEADLINE,
    Gate,
    ServerProcess,
    image_file,
    server_environment,
    wait_until,
)

from clickcut_formats import label_studio
from clickcut_label_studio.errors import KeyRefusedError, LabelStudioError, TaskError
from clickcut_label_studio.labelling import parse
from clickcut_label_studio.project import BackendAddress, adopt, configuration, create, register
from clickcut_label_studio.studio import LabelStudio

BACKEND = BackendAddress("http://localhost:9090")


@pytest.fixture(scope="module")
def studio() -> Iterator[StudioStub]:
    with StudioStub() as stub:
        stub.images[IMAGE] = image_file()
        yield stub


def started(url: str, *options: str, key: str = LEGACY_KEY, wait: bool = True) -> PageProcess:
    words = ("--url", url, "--api-key", key, *options)
    return PageProcess(*words, wait=wait, command="clickcut_label_studio", first="backend")


@pytest.fixture(scope="module")
def backend(studio: StudioStub, server: ServerProcess) -> Iterator[PageProcess]:
    options = ("--server", server.address, "--user", "studio", "--password", "a secret")
    with started(studio.url, *options, key=PERSONAL_KEY) as process:
        yield process


AUTHORIZATION = "Basic " + base64.b64encode(b"studio:a secret").decode()


def ask(
    backend: PageProcess, method: str, path: str, document: object = None, **headers: str
) -> tuple[http.client.HTTPResponse, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=DEADLINE)
    try:
        named = {"content-type": "application/json", "authorization": AUTHORIZATION}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer, json.loads(answer.read())
    finally:
        connection.close()


# ---- the process


@pytest.mark.slow
def test_the_endpoints(backend: PageProcess) -> None:
    answer, document = ask(backend, "GET", "/health")
    assert (answer.status, document["status"]) == (200, "UP")
    schema = CONFIG.replace('alias="hound"', "").replace("hound", "dog")
    answer, document = ask(backend, "POST", "/setup", {"project": "2.1", "schema": schema})
    assert (answer.status, document) == (200, {"model_version": "clickcut toy@1"})
    answer, document = ask(backend, "GET", "/versions")
    assert document == {"versions": ["clickcut toy@1"]}
    answer, document = ask(backend, "POST", "/webhook", {"action": "ANNOTATION_CREATED"})
    assert answer.status == 201
    answer, document = ask(backend, "POST", "/predict", predict_document(click(80, 60, id="a")))
    assert answer.status == 200
    [entry] = document["results"]
    assert entry["model_version"] == "clickcut toy@1"
    task = {"data": {"image": "x"}, "annotations": [{"result": entry["result"]}]}
    assert label_studio.parse([task], "x")[0].objects[0].mask.any()


@pytest.mark.slow
def test_the_message_is_in_the_status_line(backend: PageProcess) -> None:
    request = predict_document(click(80, 60, id="a", label="bird"))
    answer, document = ask(backend, "POST", "/predict", request)
    assert answer.status == 422
    assert "lacks the label 'bird'" in document["message"]
    assert answer.reason == document["message"]
    wait_until(lambda: f"refused   {answer.reason}" in backend.errors, "it is in the log")


@pytest.mark.slow
def test_user_and_password(backend: PageProcess) -> None:
    wrong = base64.b64encode(b"studio:wrong").decode()
    for given in ("", "Basic", f"Basic {wrong}", "Basic \xff", AUTHORIZATION.replace("Basic", "X")):
        for path in ("/health", "/predict"):
            answer, _ = ask(backend, "GET", path, authorization=given)
            assert answer.status == 401
            assert "password" in answer.reason
            assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (b"{", {}, "not JSON"),
        (b"[" * 100_000, {}, "not JSON"),
        (b"[]", {}, "not a JSON object"),
        (b"{}", {"content_type": "text/plain"}, "application/json"),
        (b"{}", {}, "tasks is not"),
    ],
)
def test_bodies_that_are_no_requests(
    backend: PageProcess, body: bytes, headers: dict[str, str], text: str
) -> None:
    answer, document = ask(backend, "POST", "/predict", body, **headers)
    assert answer.status == 422
    assert text in document["message"]
    assert ask(backend, "GET", "/health")[0].status == 200


@pytest.mark.slow
def test_it_waits_for_the_engine(studio: StudioStub) -> None:
    with started(studio.url, "--server", "127.0.0.1:9", wait=False) as process:
        process.wait_for("waiting   no connection to a server at 127.0.0.1:9")
        answer, document = ask(process, "GET", "/health")
        assert answer.status == 503
        assert document["error"] == "UnavailableError"


@pytest.mark.slow
def test_it_is_ready_when_the_engine_is_warm(
    studio: StudioStub, bundle: Path, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    gate.close()
    with ServerProcess(bundle, wait=False, prelude=gate.prelude) as cold:
        gate.wait()  # it warms up, and answers already
        with started(studio.url, "--server", cold.address, wait=False) as process:
            process.wait_for("waiting   ")

            def says_why() -> bool:
                answer, document = ask(process, "GET", "/health")
                assert answer.status == 503
                return "warming up" in document["message"]

            wait_until(says_why, "it says that the engine is warming up")
            assert not any(line.startswith("ready") for line in process.lines)
            gate.open()
            process.wait_for("ready")
            assert ask(process, "GET", "/health")[0].status == 200


@pytest.mark.slow
def test_it_waits_for_label_studio(server: ServerProcess) -> None:
    with started("http://127.0.0.1:9", "--server", server.address, wait=False) as process:
        process.wait_for("waiting   Label Studio does not answer at http://127.0.0.1:9")
        answer, document = ask(process, "GET", "/health")
        assert answer.status == 503
        assert "connection refused" in document["message"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clickcut_label_studio", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=server_environment(),
    )


@pytest.mark.slow
def test_a_key_that_is_refused_ends_the_start(studio: StudioStub, server: ServerProcess) -> None:
    done = run(
        "--url", studio.url, "--api-key", "wrong", "--server", server.address, "--port", "0"
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("clickcut label-studio: Label Studio at")
    assert "refuses the key" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_url_that_is_none_ends_the_start(server: ServerProcess) -> None:
    done = run(
        "--url", "localhost:8080", "--api-key", "k", "--server", server.address, "--port", "0"
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not the URL of a Label Studio" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_options_that_are_missing() -> None:
    done = run()
    assert done.returncode == 2
    assert "--url" in done.stderr
    done = run("init-project", "--url", "http://127.0.0.1:9", "--api-key", "k")
    assert done.returncode == 2
    assert "at least one label" in done.stderr
    done = run("--url", "http://x", "--api-key", "k", "--user", "u")
    assert "go together" in done.stderr


@pytest.mark.slow
def test_init_project_as_a_command(studio: StudioStub) -> None:
    done = run(
        "init-project", "--url", studio.url, "--api-key", LEGACY_KEY, "--label", "cat",
        "--label", "dog", "--title", "Pets", "--backend", "http://localhost:9091",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    project = max(studio.projects)
    assert f"{studio.url}/projects/{project}/data" in done.stdout
    assert studio.projects[project]["title"] == "Pets"
    done = run("init-project", "--url", studio.url, "--api-key", "wrong", "--label", "cat")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


# ---- projects


def connected(studio: StudioStub) -> LabelStudio:
    return LabelStudio(studio.url, LEGACY_KEY)


def test_a_project(studio: StudioStub) -> None:
    secured = BackendAddress("http://localhost:9090", "studio", "a secret")
    labels = ["cat", 'a "quoted" <label> & more']
    project = create(connected(studio), "Pets", labels, "brush", secured)
    made = studio.projects[project]
    assert made["evaluate_predictions_automatically"] is False
    assert made["show_collab_predictions"] is False
    labelling = parse(made["label_config"])
    labelling.check()
    for label in labels:
        assert labelling.answer("image", label, "brush").kind == "brushlabels"
    [registered] = [b for b in studio.backends.values() if b["project"] == project]
    assert registered["is_interactive"] is True
    assert registered["auth_method"] == "BASIC_AUTH"
    assert (registered["basic_auth_user"], registered["basic_auth_pass"]) == ("studio", "a secret")


def test_a_project_with_polygons() -> None:
    labelling = parse(configuration(["cat"], "polygon"))
    labelling.check()
    assert labelling.answer("image", "cat", "brush").kind == "polygonlabels"


def test_a_backend_is_registered_once(studio: StudioStub) -> None:
    first = create(connected(studio), "Pets", ["cat"], "brush", BACKEND)
    before = len(studio.backends)
    number = register(connected(studio), first, BACKEND)
    assert len(studio.backends) == before
    assert studio.backends[number]["url"] == BACKEND.url


def test_a_backend_that_is_refused_leaves_no_project(studio: StudioStub) -> None:
    before = dict(studio.projects)
    studio.refuses_backend = "Can't connect to ML backend http://localhost:9090"
    try:
        with pytest.raises(LabelStudioError, match="Can't connect to ML backend") as raised:
            create(connected(studio), "Pets", ["cat"], "brush", BACKEND)
    finally:
        studio.refuses_backend = ""
    assert len(str(raised.value).splitlines()) == 1
    assert studio.projects == before


def test_a_project_that_is_there(studio: StudioStub) -> None:
    studio.projects[77] = {"id": 77, "label_config": "<View></View>", "title": "Mine"}
    adopt(connected(studio), 77, ["cat"], "brush", BACKEND)
    made = studio.projects[77]
    assert (made["title"], made["show_collab_predictions"]) == ("Mine", False)
    parse(made["label_config"]).check()
    with pytest.raises(LabelStudioError, match="leave out --label"):
        adopt(connected(studio), 77, ["dog"], "brush", BACKEND)
    before = len(studio.backends)
    adopt(connected(studio), 77, [], "brush", BACKEND)
    assert len(studio.backends) == before
    with pytest.raises(LabelStudioError, match="not there"):
        adopt(connected(studio), 78, ["cat"], "brush", BACKEND)


def test_a_project_that_is_there_stays_as_it_was(studio: StudioStub) -> None:
    unfit = '<View><Text name="t" value="$t"/></View>'
    studio.projects[79] = {"id": 79, "label_config": unfit, "show_collab_predictions": True}
    with pytest.raises(TaskError, match="no <Image>"):
        adopt(connected(studio), 79, [], "brush", BACKEND)
    studio.projects[80] = {"id": 80, "label_config": "<View/>", "show_collab_predictions": True}
    studio.refuses_backend = "Can't connect"
    try:
        with pytest.raises(LabelStudioError, match="Can't connect"):
            adopt(connected(studio), 80, ["cat"], "brush", BackendAddress("http://other:1"))
    finally:
        studio.refuses_backend = ""
    for number, config in ((79, unfit), (80, "<View/>")):
        assert studio.projects[number]["label_config"] == config
        assert studio.projects[number]["show_collab_predictions"] is True


@pytest.mark.parametrize("labels", [[], [""], ["cat", " "], ["cat", "cat"]])
def test_labels_that_are_none(studio: StudioStub, labels: list[str]) -> None:
    before = len(studio.requests)
    with pytest.raises(LabelStudioError, match="label"):
        create(connected(studio), "Pets", labels, "brush", BACKEND)
    assert len(studio.requests) == before


def test_a_key_that_is_refused_creates_nothing(studio: StudioStub) -> None:
    before = dict(studio.projects)
    with pytest.raises(KeyRefusedError):
        create(LabelStudio(studio.url, "wrong"), "Pets", ["cat"], "brush", BACKEND)
    assert studio.projects == before
