"""The plugin for napari, in a viewer: `make test-napari` installs what it needs and runs this."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from server.harness import Line, ServerProcess, picture

from clickcut.client import Client

napari = pytest.importorskip("napari", reason="napari is not installed: make test-napari")
pytest.importorskip("pytestqt", reason="pytest-qt is not installed: make test-napari")
from qtpy.QtCore import QPoint, Qt  # noqa: E402
from qtpy.QtTest import QTest  # noqa: E402

from clickcut_napari.widget import ClickcutWidget  # noqa: E402

PIXELS = picture()  # 160 x 120
WAIT_MS = 60_000


class Dock:
    """A viewer with the dock in it.

    Args:
        make_viewer: the fixture of napari.
        qtbot: of pytest-qt.
        server: address of the engine.
        images: to open first, arrays or (array, options).
    """

    def __init__(
        self, make_viewer: Any, qtbot: Any, server: str, *images: Any, show: bool = False
    ) -> None:
        self.viewer = make_viewer(show=show)
        self.qtbot = qtbot
        for image in images:
            array, options = image if isinstance(image, tuple) else (image, {})
            self.viewer.add_image(array, **options)
        self.widget = ClickcutWidget(self.viewer, server)
        self.viewer.window.add_dock_widget(self.widget, name="clickcut")

    @property
    def selector(self) -> Any:
        return self.widget.selector

    @property
    def labels(self) -> Any:
        return self.selector.layers.selection.data

    @property
    def clicks(self) -> Any:
        return self.selector.layers.clicks

    @property
    def message(self) -> str:
        return str(self.widget.status.text())

    def until(self, happened: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(happened, timeout=WAIT_MS)

    def settle(self) -> None:
        self.until(lambda: self.selector.busy == 0)

    def ready(self) -> Dock:
        self.until(lambda: self.widget.connecting.isEnabled())
        assert self.widget.engine_state.text().startswith("ready"), self.widget.engine_state.text()
        return self

    def click(self, *position: float, positive: bool = True) -> None:
        self.selector.click(position, positive)
        self.settle()


@pytest.fixture
def dock(make_napari_viewer: Any, qtbot: Any, server: ServerProcess) -> Iterator[Any]:
    docks: list[Dock] = []

    def make(*images: Any, address: str = server.address, **options: Any) -> Dock:
        docks.append(Dock(make_napari_viewer, qtbot, address, *images, **options))
        return docks[-1]

    yield make
    for one in docks:
        one.widget.engine.join()


def expected(
    server: ServerProcess, pixels: np.ndarray[Any, Any], *clicks: tuple[int, int, bool]
) -> np.ndarray[Any, Any]:
    with Client(server.address) as client, client.open(pixels) as session:
        for click in clicks:
            session.click(*click)
        return session.mask


# ---- selecting


def test_clicks_become_labels(dock: Any, server: ServerProcess) -> None:
    one = dock(PIXELS).ready()
    one.click(60.2, 80.4)
    assert one.labels[60, 80] == 1
    one.click(20, 30, positive=False)
    wanted = expected(server, PIXELS, (80, 60, True), (30, 20, False))
    assert wanted.any()
    assert np.array_equal(one.labels, wanted)
    assert one.clicks.data.tolist() == [[60, 80], [20, 30]]
    assert one.clicks.features["positive"].tolist() == [True, False]
    assert len(np.unique(one.clicks.face_color, axis=0)) == 2


def test_undo_redo_and_removing_all(dock: Any, server: ServerProcess) -> None:
    one = dock(PIXELS).ready()
    assert not one.widget.undo.isEnabled()
    one.click(60, 80)
    one.click(100, 120)
    both = one.labels.copy()
    one.widget.undo.click()
    one.settle()
    assert np.array_equal(one.labels, expected(server, PIXELS, (80, 60, True)))
    assert len(one.clicks.data) == 1
    one.widget.redo.click()
    one.settle()
    assert np.array_equal(one.labels, both)
    assert not one.widget.redo.isEnabled()
    one.widget.reset.click()
    one.settle()
    assert not one.labels.any()
    assert len(one.clicks.data) == 0
    one.widget.undo.click()
    one.settle()
    assert np.array_equal(one.labels, both)


def test_the_next_object_has_the_next_label(dock: Any) -> None:
    one = dock(PIXELS).ready()
    one.click(60, 80)
    first = one.labels == 1
    one.widget.next.click()
    assert len(one.clicks.data) == 0
    y, x = np.argwhere(~first)[0]
    one.click(y, x)
    assert one.labels[y, x] == 2
    assert np.array_equal(one.labels == 1, first)
    one.widget.undo.click()
    one.settle()
    assert np.array_equal(one.labels == 1, first)
    assert not (one.labels == 2).any()


def test_labels_of_others_are_kept(dock: Any) -> None:
    one = dock(PIXELS).ready()
    one.labels[50:70, 70:90] = 7
    one.labels[0, 0] = 1
    one.click(60, 60)
    assert (one.labels[50:70, 70:90] == 7).all()
    assert one.labels[0, 0] == 1
    one.widget.undo.click()
    one.settle()
    assert (one.labels == 1).sum() == 1
    one.widget.next.click()
    assert one.selector.layers.selection.selected_label == 8


def test_fast_clicks_are_all_applied_in_order(dock: Any, server: ServerProcess) -> None:
    one = dock(PIXELS).ready()
    places = [(80, 60, True), (120, 100, True), (30, 20, False), (60, 60, True)]
    for x, y, positive in places:
        one.selector.click((y, x), positive)
    assert one.selector.busy == 4
    assert len(one.clicks.data) == 4
    one.settle()
    assert np.array_equal(one.labels, expected(server, PIXELS, *places))


def test_napari_s_own_tools_add_move_and_remove_clicks(dock: Any, server: ServerProcess) -> None:
    one = dock(PIXELS).ready()
    one.clicks.add([60.3, 79.8])
    one.settle()
    one.widget.background.setChecked(True)
    one.clicks.add([20, 30])
    one.settle()
    wanted = expected(server, PIXELS, (80, 60, True), (30, 20, False))
    assert np.array_equal(one.labels, wanted)
    moved = one.clicks.data.copy()
    moved[0] = 100.2, 119.7
    one.clicks.data = moved
    one.settle()
    wanted = expected(server, PIXELS, (120, 100, True), (30, 20, False))
    assert np.array_equal(one.labels, wanted)
    one.clicks.selected_data = {1}
    one.clicks.remove_selected()
    one.settle()
    assert np.array_equal(one.labels, expected(server, PIXELS, (120, 100, True)))


# ---- what is shown is what is sent


def test_scale_and_translation(dock: Any, server: ServerProcess) -> None:
    one = dock((PIXELS, {"scale": (0.5, 2.0), "translate": (10, -20)})).ready()
    assert tuple(one.clicks.scale) == tuple(one.selector.layers.selection.scale) == (0.5, 2.0)
    one.click(10 + 60 * 0.5, -20 + 80 * 2.0)
    assert np.array_equal(one.labels, expected(server, PIXELS, (80, 60, True)))


def test_16_bit_with_contrast_limits(dock: Any, server: ServerProcess) -> None:
    deep = PIXELS[:, :, 0].astype(np.uint16) * 16 + 5000
    one = dock((deep, {"contrast_limits": (5000, 5000 + 16 * 255)})).ready()
    grey = np.repeat(PIXELS[:, :, :1], 3, axis=2)
    one.click(60, 80)
    assert np.array_equal(one.labels, expected(server, grey, (80, 60, True)))


def test_new_contrast_limits_take_the_clicks_along(dock: Any, server: ServerProcess) -> None:
    one = dock((PIXELS[:, :, 0], {"contrast_limits": (0, 255)})).ready()
    one.click(60, 80)
    one.selector.image.contrast_limits = (100, 200)
    one.click(20, 30, positive=False)
    seen = np.rint(255 * np.clip((PIXELS[:, :, 0] - 100.0) / 100, 0, 1)).astype(np.uint8)
    pixels = np.repeat(seen[:, :, None], 3, axis=2)
    wanted = expected(server, pixels, (80, 60, True), (30, 20, False))
    assert np.array_equal(one.labels, wanted)
    one.widget.undo.click()
    one.settle()
    assert np.array_equal(one.labels, expected(server, pixels, (80, 60, True)))


def test_slices_of_a_stack(dock: Any, server: ServerProcess) -> None:
    stack = np.stack([picture(seed=seed)[:, :, 0] for seed in range(4)])
    one = dock((stack, {"contrast_limits": (0, 255)})).ready()
    grey = [np.repeat(plane[:, :, None], 3, axis=2) for plane in stack]
    one.viewer.dims.set_current_step(0, 1)
    one.click(1, 60, 80)
    one.viewer.dims.set_current_step(0, 3)
    assert not one.widget.undo.isEnabled()
    one.click(3, 40, 50)
    assert np.array_equal(one.labels[1], expected(server, grey[1], (80, 60, True)))
    assert np.array_equal(one.labels[3], expected(server, grey[3], (50, 40, True)))
    assert not one.labels[[0, 2]].any()
    one.viewer.dims.set_current_step(0, 1)
    one.click(1, 20, 30, positive=False)
    wanted = expected(server, grey[1], (80, 60, True), (30, 20, False))
    assert np.array_equal(one.labels[1], wanted)
    assert sorted(one.clicks.data.tolist()) == [[1, 20, 30], [1, 60, 80], [3, 40, 50]]


def test_a_stack_that_is_shown_from_the_side(dock: Any, server: ServerProcess) -> None:
    stack = np.stack([picture(48, 64, seed=seed)[:, :, 0] for seed in range(40)])
    one = dock((stack, {"contrast_limits": (0, 255)})).ready()
    one.viewer.dims.order = (1, 2, 0)  # x downwards, z to the right
    one.viewer.dims.set_current_step(1, 30)
    one.click(12, 30, 20)
    shown = np.repeat(stack[:, 30, :].T[:, :, None], 3, axis=2)
    wanted = expected(server, shown, (12, 20, True))
    assert np.array_equal(one.labels[:, 30, :].T, wanted)
    assert np.count_nonzero(one.labels) == np.count_nonzero(wanted)


# ---- the mouse


def test_a_mouse_press(dock: Any, server: ServerProcess) -> None:
    """Through Qt's events, the canvas and napari's handling of the mouse."""
    one = dock(PIXELS, show=True).ready()
    canvas = one.viewer.window._qt_viewer.canvas.native

    def place(y: float, x: float) -> QPoint:
        """Where a pixel is on the canvas."""
        zoom = one.viewer.camera.zoom
        centre = one.viewer.camera.center
        across = canvas.width() / 2 + (x - centre[-1]) * zoom
        return QPoint(round(across), round(canvas.height() / 2 + (y - centre[-2]) * zoom))

    one.until(lambda: canvas.isVisible() and canvas.width() > 100)
    one.qtbot.wait(200)

    def press(y: float, x: float, keys: Any = Qt.KeyboardModifier.NoModifier) -> None:
        QTest.mouseMove(canvas, place(y, x))
        one.qtbot.wait(50)
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, keys, place(y, x))
        one.qtbot.wait(50)
        one.settle()

    def drag(start: QPoint, end: QPoint) -> None:
        QTest.mouseMove(canvas, start)
        one.qtbot.wait(50)
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
        for step in range(1, 6):
            QTest.mouseMove(canvas, start + (end - start) * step / 5)
            one.qtbot.wait(20)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
        one.qtbot.wait(50)

    press(60, 80)
    press(20, 30, Qt.KeyboardModifier.ControlModifier)
    assert one.clicks.features["positive"].tolist() == [True, False]
    found = [(round(x), round(y)) for y, x in one.clicks.data]
    assert np.abs(np.subtract(found, [(80, 60), (30, 20)])).max() <= 1
    wanted = expected(server, PIXELS, (*found[0], True), (*found[1], False))
    assert np.array_equal(one.labels, wanted)

    centre = one.viewer.camera.center
    drag(place(60, 80), place(80, 100))
    assert len(one.clicks.data) == 2, "dragging moves the picture"
    assert one.viewer.camera.center != centre

    one.clicks.mode = "select"
    drag(place(found[1][1], found[1][0]), place(100, 40))
    one.settle()
    assert np.abs(one.clicks.data[1] - (100, 40)).max() <= 1
    y, x = (round(value) for value in one.clicks.data[1])
    wanted = expected(server, PIXELS, (*found[0], True), (x, y, False))
    assert np.array_equal(one.labels, wanted)


# ---- bad input


def test_no_image(dock: Any) -> None:
    one = dock().ready()
    assert one.message == "open an image first"
    one.selector.click((1, 1), True)
    one.selector.undo()
    one.selector.next_object()
    assert one.message == "open an image first"
    one.viewer.add_image(PIXELS)
    assert one.selector.image is not None
    one.click(60, 80)
    assert one.labels[60, 80] == 1


def test_a_4d_layer(dock: Any) -> None:
    one = dock(np.zeros((2, 3, 64, 64), np.uint8)).ready()
    assert "has 4 dimensions" in one.message
    assert [layer.name for layer in one.viewer.layers] == ["image"]


def test_what_is_not_a_plane(dock: Any) -> None:
    one = dock(np.zeros((5, 64, 64), np.uint8)).ready()
    one.viewer.dims.ndisplay = 3
    one.click(1, 1, 1)
    assert "the view is 3D" in one.message
    one.viewer.dims.ndisplay = 2
    one.click(0, 1, 64.6)
    assert "the click is outside" in one.message
    assert not one.labels.any()


def test_the_image_is_removed(dock: Any) -> None:
    one = dock(PIXELS).ready()
    one.click(60, 80)
    one.viewer.layers.remove(one.selector.image)
    assert one.message == "open an image first"
    assert [layer.name for layer in one.viewer.layers] == ["selection", "clicks"]


def test_layers_that_are_removed(dock: Any) -> None:
    one = dock(PIXELS).ready()
    one.click(60, 80)
    one.viewer.layers.remove(one.clicks)
    assert one.selector.image is None
    one.widget.image.setCurrentIndex(0)
    assert one.selector.image is not None
    one.click(60, 80)
    assert one.labels[60, 80] == 1


def test_an_engine_that_goes_away(dock: Any, server: ServerProcess, monkeypatch: Any) -> None:
    monkeypatch.setattr("clickcut_napari.engine_thread.RETRY_SECONDS", 0.5)
    with Line(server.port) as line:
        one = dock(PIXELS, address=line.address).ready()
        one.click(60, 80)
        before = one.labels.copy()
        line.cut()
        one.selector.click((100, 120), True)
        assert one.selector.busy == 1, "the window does not wait"
        assert len(one.clicks.data) == 2
        one.settle()
        assert "connection" in one.message
        assert line.address in one.message
        assert np.array_equal(one.labels, before)
        assert len(one.clicks.data) == 1
        one.widget.next.click()
        line.mend()
        y, x = np.argwhere(before == 0)[0]
        one.click(y, x)
        assert one.labels[y, x] == 2
        assert np.array_equal(one.labels == 1, before == 1)
        one.widget.engine.join()


def test_an_engine_that_is_not_there(dock: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("clickcut_napari.engine_thread.CONNECT_SECONDS", 0.3)
    monkeypatch.setattr("clickcut_napari.engine_thread.RETRY_SECONDS", 0.3)
    one = dock(PIXELS, address="127.0.0.1:9")
    one.until(lambda: one.widget.connecting.isEnabled())
    assert "no connection to a server at 127.0.0.1:9" in one.widget.engine_state.text()
    one.click(60, 80)
    assert "no connection to a server at 127.0.0.1:9" in one.message
    assert not one.labels.any()


def test_an_engine_that_comes_late(dock: Any, server: ServerProcess, monkeypatch: Any) -> None:
    monkeypatch.setattr("clickcut_napari.engine_thread.CONNECT_SECONDS", 0.3)
    with Line(server.port) as line:
        line.cut()
        one = dock(PIXELS, address=line.address)
        one.until(lambda: one.widget.connecting.isEnabled())
        assert not one.widget.engine_state.text().startswith("ready")
        line.mend()
        one.click(60, 80)
        assert one.labels[60, 80] == 1
        assert one.widget.engine_state.text() == f"ready: {line.address}"
        one.widget.engine.join()


def test_an_address_that_is_none(dock: Any, server: ServerProcess) -> None:
    one = dock(PIXELS, address="nonsense")
    one.until(lambda: one.widget.connecting.isEnabled())
    assert "an address is HOST:PORT" in one.widget.engine_state.text()
    one.click(60, 80)
    assert "there is no engine" in one.message
    one.widget.address.setText(server.address)
    one.widget.connecting.click()
    one.ready()
    one.click(60, 80)
    assert one.labels[60, 80] == 1


# ---- the plugin


def test_npe2_finds_the_dock_and_the_sample() -> None:
    npe2 = pytest.importorskip("npe2")
    manager = npe2.PluginManager()
    manager.discover()
    manager.activate("clickcut")
    manifest = manager.get_manifest("clickcut")
    (widget,) = manifest.contributions.widgets
    assert widget.get_callable(_registry=manager.commands) is ClickcutWidget
    (sample,) = manifest.contributions.sample_data
    ((pixels, options, kind),) = manager.commands.execute(sample.command)
    assert (pixels.shape, kind, options["name"]) == ((512, 512, 3), "image", "astronaut")


@pytest.mark.slow
def test_an_engine_of_its_own(make_napari_viewer: Any, qtbot: Any) -> None:
    one = Dock(make_napari_viewer, qtbot, "", PIXELS)
    try:
        qtbot.waitUntil(lambda: one.widget.connecting.isEnabled(), timeout=300_000)
        assert one.ready().widget.engine_state.text().startswith("ready: own engine, model default")
        one.click(60, 80)
        assert one.labels[60, 80] == 1
    finally:
        one.widget.engine.join()
