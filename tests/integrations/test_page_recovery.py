"""Broken connections, restarted engines, reloads, second tabs: the page goes on, nothing lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integrations.page_harness import ASTRONAUT, PageProcess, Window
from server.harness import Gate, ServerProcess, reserved_address, wait_until, write_bundle

from clickcut.client import Client

pytestmark = pytest.mark.slow

PLACES = ((190, 330), (228, 100), (330, 300))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture
def frail(bundle: Path, free_address: str) -> Iterator[ServerProcess]:
    """An engine that may be killed."""
    with ServerProcess(bundle, address=free_address) as process:
        yield process


@pytest.fixture
def window(browser: Any, frail: ServerProcess) -> Iterator[Window]:
    with (
        PageProcess("--server", frail.address) as page,
        Window.of(browser, page.url) as opened,
    ):
        yield opened


def areas(address: str, count: int) -> list[int]:
    """What the Python client gets for the first clicks."""
    with Client(address) as client:
        session = client.open(ASTRONAUT)
        return [int(session.click(*place).sum()) for place in PLACES[:count]]


def test_an_engine_that_is_killed_and_started_again(
    window: Window, frail: ServerProcess, bundle: Path
) -> None:
    window.open_sample()
    expected = areas(frail.address, 3)
    for place in PLACES[:2]:
        window.click(*place)
    assert window.area() == expected[1]
    frail.kill()
    window.wait_offline()
    assert "nothing is lost" in window.page.inner_text("#banner-text")
    window.page.mouse.click(*window.at(*PLACES[2]))  # while it is away
    with ServerProcess(bundle, address=frail.address):
        window.wait_online()
        assert window.area() == expected[2]
        window.press("Control+z", "Control+z")
        assert window.area() == expected[0]
        window.press("Control+Shift+z")
        assert window.area() == expected[1]
    window.wait_offline()
    with ServerProcess(bundle, address=frail.address):
        window.wait_online()
        window.press("Control+Shift+z")  # was undone before the engine went away
        assert window.area() == expected[2]
        assert window.page.is_disabled("#redo")
        window.press("Control+z")
        assert window.area() == expected[1]
        window.reload()
        window.wait_online()
        assert window.area() == expected[1]


def test_a_reload_restores_everything(window: Window, frail: ServerProcess) -> None:
    window.open_sample()
    expected = areas(frail.address, 3)
    window.click(*PLACES[0])
    window.page.fill("#objects .name", "left arm")
    window.page.press("#objects .name", "Enter")
    window.press("n")
    window.click(*PLACES[1])
    before = [window.area(1), window.area(2)]
    window.reload()
    window.wait_online()
    assert window.names() == ["left arm", "Object 2"]
    assert [window.area(1), window.area(2)] == before
    assert before[0] == expected[0]
    window.press("Control+z")
    assert window.area(2) == 0
    assert window.page.is_enabled("#redo")


@pytest.mark.parametrize("fate", ["answered", "killed"])
def test_a_reload_while_a_click_is_computed(
    browser: Any, bundle: Path, free_address: str, tmp_path: Path, fate: str
) -> None:
    gate = Gate(tmp_path)
    first = ServerProcess(bundle, address=free_address, prelude=gate.prelude)
    with (
        first,
        PageProcess("--server", free_address) as page,
        Window.of(browser, page.url) as window,
    ):
        window.open_sample()
        expected = areas(free_address, 2)
        window.page.uncheck("#preview")
        window.click(*PLACES[0])
        gate.close()
        window.page.mouse.click(*window.at(*PLACES[1]))
        gate.wait()
        window.page.reload()
        if fate == "answered":
            gate.open()
            window.wait_online()
            assert window.area() == expected[1]
        else:
            first.kill()
            with ServerProcess(bundle, address=free_address):
                window.wait_online()
                assert window.area() == expected[1]
                window.press("Control+z")
                assert window.area() == expected[0]


def test_objects_are_replayed_to_a_new_engine(
    window: Window, frail: ServerProcess, bundle: Path
) -> None:
    window.open_sample()
    window.click(*PLACES[0])
    window.press("n")
    window.click(430, 420)
    window.press("n")  # a third one, still empty
    window.page.click("#objects li:nth-child(1) .edit")
    window.settle()
    window.click(*PLACES[1])
    before = [window.area(n) for n in (1, 2, 3)]
    assert before[2] == 0
    frail.kill()
    window.wait_offline()
    with ServerProcess(bundle, address=frail.address):
        window.wait_online()
        assert [window.area(n) for n in (1, 2, 3)] == before
        window.page.click("#objects li:nth-child(2) .edit")
        window.settle()
        assert [window.area(n) for n in (1, 2, 3)] == before
        window.page.click("#objects li:nth-child(3) .edit")
        window.settle()
        window.click(480, 100)
        assert window.area(3) > 0


def test_the_picture_stays_in_place_when_the_banner_comes(
    window: Window, frail: ServerProcess
) -> None:
    window.open_sample()
    before = window.at(0, 0), window.at(500, 500)
    frail.kill()
    window.page.wait_for_selector("#banner:not([hidden])")
    window.settle()
    assert (window.at(0, 0), window.at(500, 500)) == before


def test_a_new_tab_offers_the_last_picture(window: Window) -> None:
    window.open_sample()
    window.click(*PLACES[0])
    before = window.area()
    other = Window(window.page.context.new_page())
    other.go(window.page.url)
    other.page.click("#again")
    other.wait_online()
    assert other.area() == before
    window.page.wait_for_selector('#connection[data-state="taken"]')
    assert "another tab" in window.page.inner_text("#banner-text")
    other.click(*PLACES[1])
    window.page.click("#banner-action")
    window.wait_online()
    assert window.area() == before  # its own list of events counts, not the other tab's
    assert not other.faults


def test_an_engine_that_is_not_there_yet(browser: Any, bundle: Path, free_address: str) -> None:
    with (
        PageProcess("--server", free_address, wait=False) as page,
        Window.of(browser, page.url) as window,
    ):
        window.page.click("#sample")
        window.wait_offline()
        assert window.page.inner_text("#image-name") == "astronaut.jpg"
        window.page.mouse.click(*window.at(*PLACES[0]))
        with ServerProcess(bundle, address=free_address):
            window.wait_online()
            assert [window.area()] == areas(free_address, 1)


def test_the_pages_server_is_restarted(browser: Any, frail: ServerProcess) -> None:
    with reserved_address() as address:
        options = ("--server", frail.address, "--port", address.split(":")[1])
        with PageProcess(*options) as page:
            context = browser.new_context(viewport={"width": 1200, "height": 800})
            window = Window(context.new_page())
            window.go(page.url)
            window.open_sample()
            window.click(*PLACES[0])
        window.wait_offline()
        window.page.mouse.click(*window.at(*PLACES[1]))
        with PageProcess(*options):
            window.wait_online()
            assert window.area() == areas(frail.address, 2)[1]
            context.close()
    assert not window.faults


def test_an_engine_of_its_own_is_started_again(browser: Any) -> None:
    with PageProcess() as page, Window.of(browser, page.url) as window:
        window.open_sample()
        window.click(*PLACES[0])
        before = window.area()
        assert before > 0
        window.page.evaluate("() => { recorded.states = []; }")
        page.kill_engine()
        window.page.wait_for_function("() => recorded.states.includes('offline')")
        window.wait_online()
        window.click(*PLACES[1])
        window.press("Control+z")
        assert window.area() == before
        wait_until(lambda: any("starts again" in x for x in page.errors), "it says so")
    with socket.socket() as probe:  # stopped with the page
        assert probe.connect_ex(("127.0.0.1", page.engine_port)) != 0


def test_the_engine_of_a_killed_page_ends_too() -> None:
    page = PageProcess()
    try:
        page.process.kill()

        def engine_is_gone() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", page.engine_port)) != 0

        wait_until(engine_is_gone, "the engine has stopped")
    finally:
        page.stop()
