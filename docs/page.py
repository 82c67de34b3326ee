"""Takes the screenshot docs/page.png: python docs/page.py (needs the `dev` extra and Chromium)."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CLICKS = (
    ((190, 330, True), (228, 100, True), (400, 430, False), (12, 430, False)),
    ((425, 180, True), (425, 60, True), (450, 260, True)),
    ((430, 420, True),),
)
NAMES = ("astronaut", "shuttle", "helmet")


def take(page: Page, url: str) -> bytes:
    """Select three objects and take the picture."""
    page.goto(url)
    page.wait_for_selector("body.ready")
    page.click("#sample")
    page.wait_for_selector('#connection[data-state="online"]')
    for number, (clicks, name) in enumerate(zip(CLICKS, NAMES, strict=True), 1):
        if number > 1:
            page.keyboard.press("n")
            page.wait_for_selector(f"#objects li:nth-child({number})")
        for x, y, positive in clicks:
            box = page.locator(".picture").bounding_box()
            assert box is not None
            scale = box["width"] / 512
            at = box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale
            page.mouse.click(*at, button="left" if positive else "right")
            page.wait_for_timeout(300)
            page.wait_for_selector("body:not(.busy)")
        field = f"#objects li:nth-child({number}) .name"
        page.fill(field, name)
        page.press(field, "Enter")
    page.mouse.move(5, 400)
    page.wait_for_timeout(500)
    return page.screenshot()


def main() -> None:
    """Start the page, take the picture, write it with a palette."""
    command = [sys.executable, "-m", "clickcut_page", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if line.startswith("ready"):
                break
        found = re.search(r"http://\S+", "".join(lines))
        assert found, lines
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            shot = take(browser.new_page(viewport={"width": 1280, "height": 800}), found[0])
            browser.close()
    finally:
        server.terminate()
        server.wait()
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    palette = picture.quantize(256)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
        Path(__file__).with_suffix(".png"), optimize=True
    )


if __name__ == "__main__":
    main()
