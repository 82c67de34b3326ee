"""`clickcut repair`: an annotation file is gone through in the page, object by object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
        window.wait_for_notice("1 object is left")
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


class Repairing(Window):
    """A window that repairs; it notes what is saved, and can hold back answers."""

    def __init__(self, page: Any) -> None:
        super().__init__(page)
        self.saved: list[str] = []
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if request.method == "POST":
            self.saved.append(urlsplit(request.url).path)

    @contextmanager
    def held_back(self, path: str, button: str) -> Iterator[None]:
        """Press a button that makes the page ask for something, answered after the context."""
        held: list[Any] = []
        self.page.route(f"**{path}", lambda route: held.append(route))
        with self.page.expect_request(f"**{path}"):
            self.page.click(button)
        yield
        for route in held:
            route.continue_()
        self.page.unroute(f"**{path}")

    def press_anyway(self, *buttons: str) -> None:
        """Press buttons as a hasty user does, and also where the page has disabled them."""
        for button in buttons:
            self.page.click(button, force=True)
            self.page.evaluate("name => void document.querySelector(name).onclick()", button)

    def wait_for_place(self, shown: str) -> None:
        self.page.wait_for_function(
            "shown => document.getElementById('repair-place').textContent === shown", arg=shown
        )
        self.settle()


@pytest.fixture
def repairing(browser: Any, toy_engine: ServerProcess, source: Path) -> Iterator[Repairing]:
    options = (str(source), "--server", toy_engine.address)
    with (
        PageProcess(*options, command="clickcut_page.repair_cli") as page,
        Repairing.of(browser, page.url) as window,
    ):
        window.wait_online()
        yield window


def test_nothing_is_saved_while_the_next_object_loads(repairing: Repairing, source: Path) -> None:
    with repairing.held_back("/repair/1/image", "#repair-skip"):
        repairing.press_anyway("#repair-save", "#repair-back", "#repair-skip")
    repairing.wait_for_place("2 of 2")
    assert repairing.names() == ["dog"]
    assert not repairing.saved
    repairing.page.click("#repair-save")
    repairing.wait_for_notice("1 object is left")
    assert repairing.saved == ["/repair/1"]
    [image] = coco.parse(json.loads(source.with_name("annotations.repaired.json").read_bytes()), "")
    masks = [found.mask for found in image.objects]
    np.testing.assert_array_equal(masks, [disc(40, 40, 20), disc(90, 60, 9)])


def test_an_object_is_saved_once(repairing: Repairing) -> None:
    with repairing.held_back("/repair/0", "#repair-save"):
        repairing.press_anyway("#repair-save", "#repair-skip")
    repairing.wait_for_place("2 of 2")
    assert repairing.names() == ["dog"]
    assert repairing.saved == ["/repair/0"]
    repairing.page.click("#repair-skip")
    repairing.wait_for_notice("1 object is left")


def test_a_picture_that_does_not_come_is_named(repairing: Repairing) -> None:
    repairing.page.route("**/repair/1/image", lambda route: route.abort())
    repairing.page.click("#repair-skip")
    repairing.wait_for_notice("photo.png cannot be read")
    repairing.settle()
    assert repairing.page.is_disabled("#repair-save")
    repairing.page.click("#repair-back")
    repairing.wait_for_place("1 of 2")
    assert repairing.names() == ["cat"]
    assert not repairing.saved


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
