"""Takes the screenshot docs/label-studio.png: python docs/label_studio.py PATH/OF/label-studio.

Needs the `dev` extra, Chromium, and Label Studio, as `make test-label-studio` installs it. Starts
Label Studio as the tests do, in a temporary folder.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from integrations.page_harness import ASTRONAUT, PageProcess  # noqa: E402
from integrations.studio_process import LabellingWindow, StudioProcess  # noqa: E402

from clickcut_label_studio.project import BackendAddress, create  # noqa: E402
from clickcut_label_studio.studio import LabelStudio  # noqa: E402

CLICKS = ((190, 330, True), (228, 100, True), (400, 430, False), (12, 430, False))


def take(studio: StudioProcess, backend: str) -> bytes:
    """Select the astronaut and take the picture."""
    connection = LabelStudio(studio.url, studio.token)
    labels = ["astronaut", "shuttle", "helmet"]
    project = create(connection, "Astronauts", labels, "brush", BackendAddress(backend))
    task = studio.upload(project, "astronaut.jpg", ASTRONAUT)["id"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        window = LabellingWindow(browser.new_page(viewport={"width": 1440, "height": 900}), studio)
        window.open(project, task)
        for x, y, positive in CLICKS:
            window.click("1", x, y, 512, positive)
        shot = window.page.screenshot()
        browser.close()
    return shot


def main(path: Path) -> None:
    """Start Label Studio and the backend, take the picture, write it with a palette."""
    with tempfile.TemporaryDirectory() as folder, StudioProcess(path, Path(folder)) as studio:
        words = ("--url", studio.url, "--api-key", studio.token)
        with PageProcess(*words, command="clickcut_label_studio", first="backend") as backend:
            shot = take(studio, backend.url)
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    palette = picture.quantize(256)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
        ROOT / "docs" / "label-studio.png", optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
