"""The page's server as a process, and a window of a browser with the page in it."""

from __future__ import annotations

import io
import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Self

from server.harness import DEADLINE, START_SECONDS, StartedCommand

ASTRONAUT = (resources.files("clickcut") / "assets" / "astronaut.jpg").read_bytes()
WAIT_MS = 1000 * DEADLINE

_RECORDER = """
window.recorded = { notices: [], states: [] };
new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
        if (type === "attributes") recorded.states.push(target.dataset.state);
        for (const node of addedNodes) {
            if (node.classList?.contains("notice")) recorded.notices.push(node.innerText);
        }
    }
}).observe(document, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"],
});
"""
"""Keeps what passes by itself: notices, and states of the connection."""


class PageProcess(StartedCommand):
    """`clickcut page` on a free port.

    Args:
        options: of the command.
        wait: for "ready".
        command: package whose command it is.
        first: line that holds its address.
    """

    def __init__(
        self,
        *options: str,
        wait: bool = True,
        command: str = "clickcut_page",
        first: str = "page",
    ) -> None:
        super().__init__("-m", command, "--port", "0", *options)
        try:
            self.wait_for(first)
            self.url, self.port = self.line(first).split()[1], self.port_in(first)
            if wait:
                self.wait_for("ready", START_SECONDS)
        except BaseException:
            self.stop()
            raise

    @property
    def engine_port(self) -> int:
        """Of the engine that the page started for itself."""
        return self.port_in("engine")

    def kill_engine(self) -> None:
        """Kill the engine that the page started for itself."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = {int(pid) for path in tasks for pid in path.read_text().split()}
        for pid in found:
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.process.terminate()
        self.join()


class Window:
    """A window: clicks in image coordinates, and what the page shows."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.add_init_script(_RECORDER)

    @classmethod
    @contextmanager
    def of(cls, browser: Any, url: str, **options: Any) -> Iterator[Self]:
        settings = {"viewport": {"width": 1440, "height": 900}} | options
        context = browser.new_context(**settings)
        try:
            window = cls(context.new_page())
            window.go(url)
            yield window
            assert not window.faults, window.faults
        finally:
            context.close()

    def go(self, url: str) -> None:
        self.page.goto(url)
        self.page.wait_for_selector("body.ready")

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("body.ready")

    def open_sample(self) -> None:
        self.page.click("#sample")
        self.wait_online()

    def open_file(self, name: str, data: bytes, kind: str = "image/png") -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})

    def wait_online(self) -> None:
        self.page.wait_for_selector('#connection[data-state="online"]')
        self.settle()

    def wait_offline(self) -> None:
        self.page.wait_for_selector('#connection[data-state="offline"]')

    def wait_for_zoom(self, shown: str) -> None:
        """Wait until another zoom level is shown."""
        self.page.wait_for_function(
            "shown => document.getElementById('zoom-level').textContent !== shown", arg=shown
        )

    def settle(self) -> None:
        """Wait until everything asked for is answered and drawn."""
        self.page.wait_for_selector("body:not(.busy):not(.opening)")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done()))")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image is on the screen, once the image has come to rest."""
        found = self.page.evaluate(
            """async ([x, y]) => {
                const where = async () => {
                    // After a frame: what it changes of the layout moves the image in the next one.
                    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                    const box = document.querySelector(".picture").getBoundingClientRect();
                    return JSON.stringify(box);
                };
                while ((await where()) !== (await where()));
                const picture = document.querySelector(".picture");
                const box = picture.getBoundingClientRect();
                const scale = box.width / picture.naturalWidth;
                return [box.left + (x + 0.5) * scale, box.top + (y + 0.5) * scale];
            }""",
            [x, y],
        )
        return found[0], found[1]

    def click(self, x: float, y: float, button: str = "left") -> None:
        self.page.mouse.click(*self.at(x, y), button=button)
        self.settle()

    def drag(self, *points: tuple[float, float], button: str = "left") -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down(button=button)
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=8)
        self.page.mouse.up(button=button)
        self.settle()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()

    def area(self, number: int = 1) -> int:
        """Pixels of an object as the list shows them; 0 when nothing is selected."""
        text = self.page.inner_text(f"#objects li:nth-child({number}) .area")
        return int(text.split()[0].replace(",", "")) if text[0].isdigit() else 0

    def names(self) -> list[str]:
        inputs = self.page.query_selector_all("#objects li .name")
        return [one.input_value() for one in inputs]

    def wait_for_notice(self, words: str) -> None:
        """Wait until a notice with these words is there, or was."""
        self.page.wait_for_function(
            "words => recorded.notices.some((notice) => notice.includes(words))", arg=words
        )

    def save(self, format_name: str) -> tuple[str, bytes]:
        """Save in a format; the file's name and content."""
        self.page.click("#save")
        self.page.check(f'input[name="format"][value="{format_name}"]')
        with self.page.expect_download() as download:
            self.page.click("#save-now")
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
