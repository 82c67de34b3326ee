"""The dock: which engine, which image, and what can be done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal, Slot
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from clickcut.errors import ClickcutError
from clickcut_napari.engine_thread import EngineThread
from clickcut_napari.selector import Selector

if TYPE_CHECKING:
    import napari

SERVER = "CLICKCUT_SERVER"
"""Environment variable: HOST:PORT of an engine to use. Default: start one."""

_HELP = "Click: the object. Ctrl + click: the background. Drag: move the picture."


class _Deliveries(QObject):
    """Calls functions in the window's thread; a signal between threads is queued by Qt."""

    arrived = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.arrived.connect(self._call)

    def deliver(self, function: Callable[[], None]) -> None:
        """Have a function called in the window's thread, if the window is still there."""
        with contextlib.suppress(RuntimeError):  # Qt's object is gone
            self.arrived.emit(function)

    @Slot(object)  # type: ignore[untyped-decorator]
    def _call(self, function: Callable[[], None]) -> None:
        function()


class ClickcutWidget(QWidget):
    """Select objects with a few clicks.

    Args:
        napari_viewer: the viewer.
        server: HOST:PORT of the engine; "" to start one; None: what CLICKCUT_SERVER says.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, server: str | None = None) -> None:
        super().__init__()
        self._viewer: Any = napari_viewer
        self.engine = EngineThread(_Deliveries(self).deliver)
        self.destroyed.connect(self.engine.stop)
        self._build()
        self.selector = Selector(
            napari_viewer, self.engine, self._report, self._refresh, self._answered
        )
        events = napari_viewer.layers.events
        events.inserted.connect(self._list_images)
        events.removed.connect(self._list_images)
        napari_viewer.dims.events.connect(self._refresh)
        self.address.setText(os.environ.get(SERVER, "") if server is None else server)
        self._list_images()
        self.connect_engine()

    def _build(self) -> None:
        self.image = QComboBox()
        self.address = QLineEdit()
        self.address.setPlaceholderText("HOST:PORT; empty: an engine of its own")
        self.connecting = _button("Connect", self.connect_engine)
        self.background = QCheckBox("Points are on the background")
        self.background.setToolTip("For clicks without Ctrl, and for points that you add")
        self.undo = _button("Undo", lambda: self.selector.undo(), "Ctrl+Z")
        self.redo = _button("Redo", lambda: self.selector.redo(), "Ctrl+Shift+Z")
        self.reset = _button("Remove clicks", lambda: self.selector.reset())
        self.next = _button("Next object", lambda: self.selector.next_object(), "N")
        self.status, self.engine_state = QLabel(_HELP), QLabel()
        for label in (self.status, self.engine_state):
            label.setWordWrap(True)
        form = QFormLayout()
        form.addRow("Image", self.image)
        form.addRow("Engine", self.address)
        form.addRow("", self.connecting)
        buttons = QGridLayout()
        for number, button in enumerate((self.undo, self.redo, self.reset, self.next)):
            buttons.addWidget(button, number // 2, number % 2)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.engine_state)
        layout.addWidget(self.background)
        layout.addLayout(buttons)
        layout.addWidget(self.status)
        layout.addStretch()
        self.image.currentIndexChanged.connect(self._image_chosen)
        self.background.toggled.connect(self._sign_chosen)

    def connect_engine(self) -> None:
        """Connect to the engine at the address given, or start one."""
        address = self.address.text().strip()
        self._is_connected = False
        state = "connecting ..." if address else "the engine is starting ..."
        self._show(self.engine_state, state)
        self.connecting.setEnabled(False)
        self.engine.submit(
            lambda engine: engine.connect(address), self._connected, self._not_connected
        )

    def _connected(self, what: str) -> None:
        self._is_connected = True
        self._show(self.engine_state, f"ready: {what}")
        self.connecting.setEnabled(True)

    def _not_connected(self, error: ClickcutError) -> None:
        self._show(self.engine_state, str(error))
        self.connecting.setEnabled(True)

    def _answered(self) -> None:
        if not self._is_connected:  # it came after it was waited for
            self._connected(self.address.text().strip() or "own engine")

    # ---- the image

    def _list_images(self, event: Any = None) -> None:
        """List the image layers; begin with one that was there first, or is opened later."""
        present = set(self._viewer.layers)
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        chosen, layers = self.selector.image, self.selector.layers
        if layers is not None and not {chosen, layers.clicks, layers.selection} <= present:
            self.selector.release()
            chosen = None
        # Never after a removal: a person who removes the layers does not want new ones.
        opened = event is None or (event.type == "inserted" and isinstance(event.value, Image))
        begins = chosen is None and opened
        if begins and images:
            active = self._viewer.layers.selection.active
            chosen = active if active in images else images[-1]
        self.image.blockSignals(True)
        self.image.clear()
        for layer in images:
            self.image.addItem(layer.name, layer)
        self.image.setCurrentIndex(images.index(chosen) if chosen in images else -1)
        self.image.blockSignals(False)
        if not images:
            self._report("open an image first")
        elif begins:
            self.selector.choose(chosen)

    def _image_chosen(self, index: int) -> None:
        self.selector.choose(self.image.itemData(index) if index >= 0 else None)

    # ---- what is shown

    def _sign_chosen(self, background: bool) -> None:
        if self.selector.layers is not None:
            self.selector.layers.set_sign(not background)
            self.selector.activate()

    def _report(self, message: str) -> None:
        self._show(self.status, message or _HELP)

    def _refresh(self, event: object = None) -> None:
        selector = self.selector
        self.undo.setEnabled(selector.can("can_undo"))
        self.redo.setEnabled(selector.can("can_redo"))
        self.reset.setEnabled(selector.can("clicks"))
        self.next.setEnabled(selector.image is not None)
        if selector.busy:
            self._show(self.status, "working ...")

    def _show(self, label: QLabel, text: str) -> None:
        label.setText(text)
        _fit(label)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Qt: the texts wrap differently now."""
        super().resizeEvent(event)
        for label in (self.engine_state, self.status):
            _fit(label)


def _fit(label: QLabel) -> None:
    """Keep the height that a wrapped text needs: a dock of napari gives only the minimum."""
    label.setMinimumHeight(max(0, label.heightForWidth(label.width())))


def _button(text: str, action: Callable[[], None], keys: str = "") -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(keys)
    button.clicked.connect(lambda: action())
    return button
