"""The backend with a real Label Studio: its API, its exports, its window.

Skipped where Label Studio is not installed; `make test-label-studio` installs it and runs this.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from integrations.page_harness import ASTRONAUT, PageProcess
from integrations.studio_process import (
    EXECUTABLE_VARIABLE,
    LabellingWindow,
    StudioProcess,
    executable,
)
from integrations.studio_stub import click
from PIL import Image
from pycocotools import mask as coco
from server.harness import ServerProcess

from clickcut.client import Client
from clickcut_label_studio.errors import LabelStudioError
from clickcut_label_studio.project import BackendAddress, create
from clickcut_label_studio.studio import LabelStudio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

Mask = np.ndarray
CLICKS = [(230, 300, True), (220, 90, True), (380, 440, False)]
USER, PASSWORD_OF_BACKEND = "studio", "a secret"

DECODE = """
import json, sys
import numpy as np
from label_studio_sdk.converter.brush import decode_rle
sys.stdout.buffer.write(np.asarray(decode_rle(json.load(sys.stdin)), np.uint8).tobytes())
"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    path = executable()
    if path is None:
        pytest.skip(
            f"Label Studio is not installed: run make test-label-studio, or set "
            f"{EXECUTABLE_VARIABLE} to the path of label-studio"
        )
    with StudioProcess(path, tmp_path_factory.mktemp("label-studio")) as process:
        yield process


@pytest.fixture(scope="module")
def personal_key(studio: StudioProcess) -> str:
    """A personal access token, as the page Account & Settings makes one."""
    return str(studio.json("POST", "/api/token/", {})["token"])


@pytest.fixture(scope="module")
def backend(
    studio: StudioProcess, engine: ServerProcess, personal_key: str
) -> Iterator[BackendAddress]:
    words = ["--url", studio.url, "--api-key", personal_key, "--server", engine.address]
    words += ["--user", USER, "--password", PASSWORD_OF_BACKEND, "--tolerance", "0.5"]
    with PageProcess(*words, command="clickcut_label_studio", first="backend") as process:
        yield BackendAddress(process.url, USER, PASSWORD_OF_BACKEND)


def project_of(studio: StudioProcess, backend: BackendAddress, shape: Any = "brush") -> int:
    connection = LabelStudio(studio.url, studio.token)
    return create(connection, f"clicks, {shape}", ["person", "thing"], shape, backend)


@pytest.fixture(scope="module")
def project(studio: StudioProcess, backend: BackendAddress) -> int:
    return project_of(studio, backend)


def regions(size: tuple[int, int], clicks: Any = CLICKS, first: str = "a") -> list[dict[str, Any]]:
    return [
        click(x, y, positive, id=f"{first}{n}", label="person", size=size)
        for n, (x, y, positive) in enumerate(clicks)
    ]


def engine_mask(engine: ServerProcess, data: bytes, clicks: Any = CLICKS) -> Mask:
    with Client(engine.address) as client, client.open(data) as session:
        for one in clicks:
            mask = session.click(*one)
        return mask


def decoded(studio: StudioProcess, region: dict[str, Any]) -> Mask:
    """A brush region as Label Studio's own code decodes it, (H, W) bool."""
    shape = region["original_height"], region["original_width"], 4
    data = studio.python(DECODE, json.dumps(region["value"]["rle"]).encode())
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels[..., 3] == 255


def exported(studio: StudioProcess, project: int, kind: str) -> bytes:
    return studio.ask("GET", f"/api/projects/{project}/export?exportType={kind}")


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# ---- its API


def test_it_is_registered(studio: StudioProcess, project: int) -> None:
    entry = studio.backend(project)
    assert entry["readable_state"] == "Connected"
    assert entry["is_interactive"] is True
    assert entry["model_version"].startswith("clickcut default@")
    made = studio.json("GET", f"/api/projects/{project}")
    assert made["show_collab_predictions"] is False


def test_three_clicks_accepted_and_exported(
    studio: StudioProcess, project: int, engine: ServerProcess
) -> None:
    task = studio.upload(project, "astronaut.jpg", ASTRONAUT)
    clicks = regions((512, 512))
    for n in range(3):
        answer = studio.click(project, task["id"], clicks[: n + 1])
        [region] = answer["data"]["result"]
        found = decoded(studio, region)
        expected = engine_mask(engine, ASTRONAUT, CLICKS[: n + 1])
        np.testing.assert_array_equal(found, expected)
    assert expected.sum() > 10_000

    accepted = {"result": [region], "lead_time": 3.0}
    studio.json("POST", f"/api/tasks/{task['id']}/annotations", accepted)
    [document] = json.loads(exported(studio, project, "JSON"))
    [annotation] = document["annotations"]
    np.testing.assert_array_equal(decoded(studio, annotation["result"][0]), expected)
    png = exported(studio, project, "BRUSH_TO_PNG")  # one file is not packed
    with Image.open(io.BytesIO(png)) as picture:
        np.testing.assert_array_equal(np.array(picture) > 0, expected)
    files = unzipped(exported(studio, project, "BRUSH_TO_COCO"))
    [result] = [data for name, data in files.items() if name.endswith(".json")]
    # Label Studio makes polygons of the parts, through the centres of pixels, and loses holes.
    parts = [item["segmentation"][0] for item in json.loads(result)["annotations"]]
    filled = np.zeros((512, 512), np.uint8)
    for ring in parts:
        cv2.fillPoly(filled, [np.int32(ring).reshape(-1, 2)], 1)
    assert (filled & expected).sum() / (filled | expected).sum() > 0.97


def test_polygons_in_the_plain_coco_export(
    studio: StudioProcess, backend: BackendAddress, engine: ServerProcess
) -> None:
    project = project_of(studio, backend, "polygon")
    task = studio.upload(project, "astronaut.jpg", ASTRONAUT)
    answer = studio.click(project, task["id"], regions((512, 512)))
    result = answer["data"]["result"]
    assert {region["type"] for region in result} == {"polygonlabels"}
    studio.json("POST", f"/api/tasks/{task['id']}/annotations", {"result": result})
    files = unzipped(exported(studio, project, "COCO"))
    [document] = [json.loads(data) for name, data in files.items() if name.endswith(".json")]
    outlines = [ring for item in document["annotations"] for ring in item["segmentation"]]
    filled = coco.decode(coco.merge(coco.frPyObjects(outlines, 512, 512))).astype(bool)
    expected = engine_mask(engine, ASTRONAUT)
    assert (filled & expected).sum() / (filled | expected).sum() > 0.97


def test_a_photograph_turned_by_exif(
    studio: StudioProcess, project: int, engine: ServerProcess
) -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(ASTRONAUT)) as picture:
        picture.crop((0, 0, 512, 400)).rotate(90, expand=True).save(turned, "JPEG", exif=exif)
    task = studio.upload(project, "turned.jpg", turned.getvalue())
    answer = studio.click(project, task["id"], regions((512, 400), CLICKS[:2]))
    [region] = answer["data"]["result"]
    expected = engine_mask(engine, turned.getvalue(), CLICKS[:2])
    assert expected.shape == (400, 512)
    np.testing.assert_array_equal(decoded(studio, region), expected)


def test_local_files(studio: StudioProcess, project: int, engine: ServerProcess) -> None:
    folder = studio.files / "a set"
    folder.mkdir()
    (folder / "the astronaut.jpg").write_bytes(ASTRONAUT)
    before = {task["id"] for task in studio.tasks(project)}
    storage = {
        "project": project,
        "path": str(folder),
        "use_blob_urls": True,
        "regex_filter": ".*jpg",
    }
    number = studio.json("POST", "/api/storages/localfiles", storage)["id"]
    studio.json("POST", f"/api/storages/localfiles/{number}/sync", {})
    [task] = [task for task in studio.tasks(project) if task["id"] not in before]
    assert "local-files" in task["data"]["image"]
    answer = studio.click(project, task["id"], regions((512, 512)))
    [region] = answer["data"]["result"]
    np.testing.assert_array_equal(decoded(studio, region), engine_mask(engine, ASTRONAUT))


# ---- faults


def test_a_label_that_the_configuration_lacks(studio: StudioProcess, project: int) -> None:
    task = studio.upload(project, "astronaut.jpg", ASTRONAUT)
    lacking = [region | {"value": region["value"] | {"keypointlabels": ["cloud"]}}
               for region in regions((512, 512))]  # fmt: skip
    answer = studio.click(project, task["id"], lacking)
    [message] = answer["errors"]
    assert "lacks the label 'cloud'" in message


def test_an_upload_that_was_deleted(studio: StudioProcess, project: int) -> None:
    data = ASTRONAUT + b"another file"
    task = studio.upload(project, "gone.jpg", data)
    uploads = studio.json("GET", f"/api/projects/{project}/file-uploads?all=true")
    [number] = [u["id"] for u in uploads if "gone" in u["file"]]
    studio.ask("DELETE", f"/api/import/file-upload/{number}")
    answer = studio.click(project, task["id"], regions((512, 512)))
    [message] = answer["errors"]
    assert "gone or cannot be read" in message


def test_a_password_that_is_wrong(studio: StudioProcess, backend: BackendAddress) -> None:
    before = studio.json("GET", "/api/projects")["count"]
    with pytest.raises(LabelStudioError, match="authentication parameters") as raised:
        project_of(studio, BackendAddress(backend.url, USER, "wrong"))
    assert len(str(raised.value).splitlines()) == 1
    assert studio.json("GET", "/api/projects")["count"] == before


def test_a_configuration_without_clicks(
    studio: StudioProcess, backend: BackendAddress, project: int
) -> None:
    document = {
        "title": "boxes",
        "label_config": '<View><Image name="image" value="$image"/><RectangleLabels name="r" '
        'toName="image"><Label value="x"/></RectangleLabels></View>',
    }
    number = studio.json("POST", "/api/projects", document)["id"]
    from clickcut_label_studio.project import register

    with pytest.raises(LabelStudioError, match="has no smart tool; add <KeyPointLabels"):
        register(LabelStudio(studio.url, studio.token), number, backend)


# ---- its window


def test_clicks_in_the_window(
    studio: StudioProcess, project: int, engine: ServerProcess, browser: Any
) -> None:
    task = studio.upload(project, "astronaut.jpg", ASTRONAUT)["id"]
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        window = LabellingWindow(context.new_page(), studio)
        window.open(project, task)
        asked = [window.click("1", x, y, 512, positive) for x, y, positive in CLICKS]
        assert [len(regions) for regions in asked] == [1, 2, 3]
        window.accept()
        second = window.click("2", 430, 420, 512)
        assert len(second) == 1  # accepting has removed the clicks: another object
        window.accept()
        window.submit()
    finally:
        context.close()
    [annotation] = studio.json("GET", f"/api/tasks/{task}/annotations")
    masks = {r["value"]["brushlabels"][0]: decoded(studio, r) for r in annotation["result"]}
    assert set(masks) == {"person", "thing"}
    for label, regions in (("person", asked[-1]), ("thing", second)):
        clicks = [
            (r["value"]["x"] * 5.12 - 0.5, r["value"]["y"] * 5.12 - 0.5, r["is_positive"])
            for r in regions
        ]
        assert clicks[-1][2] is (label == "thing")
        np.testing.assert_array_equal(masks[label], engine_mask(engine, ASTRONAUT, clicks))
