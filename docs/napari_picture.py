"""Takes the screenshot docs/napari.png: xvfb-run .venv-napari/bin/python docs/napari_picture.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
from PIL import Image
from qtpy.QtWidgets import QApplication

from clickcut_napari.sample import astronaut
from clickcut_napari.widget import ClickcutWidget

CLICKS = (
    ((190, 330, True), (228, 100, True), (400, 430, False), (12, 430, False)),
    ((425, 180, True), (425, 60, True), (450, 260, True)),
    ((430, 420, True),),
)
SECONDS = 300


def wait(happened: Callable[[], bool]) -> None:
    """Let the window run until something has happened."""
    end = time.monotonic() + SECONDS
    while not happened():
        if time.monotonic() > end:
            raise SystemExit("it did not happen in time")
        QApplication.processEvents()
        time.sleep(0.01)


def main() -> None:
    """Select three objects, take the picture, write it with a palette."""
    viewer = napari.Viewer()
    viewer.window.resize(1280, 800)
    ((pixels, options, _),) = astronaut()
    viewer.add_image(pixels, **options)
    widget = ClickcutWidget(viewer)
    viewer.window.add_dock_widget(widget, name="clickcut")
    wait(widget.connecting.isEnabled)
    for number, clicks in enumerate(CLICKS):
        if number:
            widget.selector.next_object()
        for x, y, positive in clicks:
            widget.selector.click((y, x), positive)
        wait(lambda: not widget.selector.busy)
    widget.selector.layers.selection.selected_label = 1
    viewer.reset_view()
    wait(lambda: widget.status.text().startswith("Click"))
    picture = Image.fromarray(viewer.screenshot(canvas_only=False)).convert("RGB")
    widget.engine.join()
    viewer.close()
    palette = picture.quantize(256)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
        Path(__file__).with_name("napari.png"), optimize=True
    )


if __name__ == "__main__":
    main()
