"""`clickcut repair`: an annotation file is gone through in the page, object by object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from integrations.page_harness import PageProcess, Window
from server.harness import ServerProcess, image_file, write_bundle

from clickcut.client import Client
from clickcut_formats import FormatError, LabelledImage, LabelledObject, coco, encode, write
from clickcut_page.repair import RepairList

pytestmark = pytest.mark.slow


def disc(x: int, y: int, radius: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    canvas = np.zeros((120, 160), np.uint8)
    cv2.circle(canvas, (x, y), radius, 1, -1)
    return canvas.astype(np.bool_)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    objects = [
        LabelledObject.of("cat", disc(40, 40, 20)),
        LabelledObject.of("dog", disc(90, 60, 9)),
    ]
    image = LabelledImage("photo.png", 160, 120, objects)
    (tmp_path / "photo.png").write_bytes(image_file())
    return write(encode("coco", [image]).files, tmp_path)[0]


@pytest.fixture(scope="module")
def toy_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")) as process:
        yield process


def test_objects_are_repaired_in_the_page(
    browser: Any, toy_engine: ServerProcess, source: Path
) -> None:
    before = json.loads(source.read_bytes())
    options = (str(source), "--server", toy_engine.address)
    with (
        PageProcess(*options, command="clickcut_page.repair_cli") as page,
        Window.of(browser, page.url) as window,
    ):
        window.wait_online()
        assert window.page.inner_text("#repair-place") == "1 of 2"
        assert window.names() == ["cat"]
        assert window.area() == disc(40, 40, 20).sum()
        window.page.click("#repair-skip")
        window.settle()
        assert window.page.inner_text("#repair-place") == "2 of 2"
        assert window.names() == ["dog"]
        assert window.area() == disc(90, 60, 9).sum()
        window.click(100, 80)
        area = window.area()
        window.page.click("#repair-save")
        window.wait_for_notice("1 objects are left")
    out = source.with_name("annotations.repaired.json")
    after = json.loads(out.read_bytes())
    assert json.loads(source.read_bytes()) == before
    assert after["annotations"][0] == before["annotations"][0]
    assert after["annotations"][1]["area"] == area
    with Client(toy_engine.address) as client:
        session = client.open((source.parent / "photo.png").read_bytes())
        session.start_from(disc(90, 60, 9))
        expected = session.click(100, 80)
    np.testing.assert_array_equal(coco.parse(after, "x")[0].objects[1].mask, expected)


def test_what_cannot_be_repaired_is_named(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    document = json.loads(source.read_bytes())
    document["images"].append({"id": 2, "file_name": "gone.png", "width": 9, "height": 9})
    document["images"].append({"id": 3, "file_name": "../x.png", "width": 9, "height": 9})
    document["images"][0]["width"] = 150
    source.write_text(json.dumps(document | {"annotations": []}))
    with pytest.raises(FormatError) as raised:
        RepairList(source, tmp_path, out, False)
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "photo.png",
        "gone.png",
        "../x.png",
    ]
    assert not out.exists()


def test_an_output_that_exists_is_left_alone(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("mine")
    with pytest.raises(FormatError, match="exists already"):
        RepairList(source, tmp_path, out, False)
    assert RepairList(source, tmp_path, out, True).tasks
    assert out.read_text() == "mine"
