"""The napari plugin's parts that need neither napari nor a window: planes, looks, the engine."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import methodcaller
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from server.harness import ServerProcess, picture

from clickcut.client import Client
from clickcut.errors import ClickcutError, EventError, ImageError
from clickcut_napari import engine_thread
from clickcut_napari.engine_thread import Engine, EngineThread, Result
from clickcut_napari.look import Look
from clickcut_napari.plane import Plane


class Colormap:
    """A colour map as napari has them: values in 0..1 to RGBA in 0..1."""

    def __init__(self, colour: tuple[float, float, float, float] = (1, 1, 1, 1)) -> None:
        self.colour = np.array(colour)

    def map(self, values: Any) -> Any:
        out = np.asarray(values)[:, None] * self.colour
        out[:, 3] = self.colour[3]
        return out


@dataclass
class Layer:
    """What is used of an image layer of napari."""

    data: Any
    contrast_limits: tuple[float, float] = (0, 255)
    gamma: float = 1.0
    rgb: bool = False
    multiscale: bool = False
    colormap: Colormap = field(default_factory=Colormap)
    scale: tuple[float, ...] = (1, 1, 1)
    projection_mode: str = "none"
    name: str = "image"

    @property
    def ndim(self) -> int:
        return (self.data[0] if self.multiscale else self.data).ndim - self.rgb

    def world_to_data(self, position: Any) -> Any:
        return np.asarray(position)[-self.ndim :] / np.array(self.scale[-self.ndim :])


def viewer(*displayed: int, ndim: int, point: tuple[float, ...], ndisplay: int = 2) -> Any:
    dims = SimpleNamespace(
        ndisplay=ndisplay, ndim=ndim, displayed=displayed, point=point, thickness=(0.0,) * ndim
    )
    return SimpleNamespace(dims=dims)


FLAT = viewer(0, 1, ndim=2, point=(0, 0))


def look(layer: Layer, shown: Any = FLAT) -> Look:
    return Look.of(Plane.shown(shown, layer))


# ---- planes


def test_a_slice_of_a_stack() -> None:
    stack = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    plane = Plane.shown(viewer(1, 2, ndim=3, point=(1.2, 0, 0)), Layer(stack))
    assert (plane.width, plane.height) == (4, 3)
    assert np.array_equal(plane.of(stack), stack[1])
    assert plane.pixel((1, 1.6, 2.4)) == (2, 2)
    assert plane.coordinates(2, 1).tolist() == [1, 1, 2]
    points = np.array([[1, 0, 0], [0, 0, 0], [0.9, 2, 2]])
    assert plane.contains(points).tolist() == [True, False, True]


def test_axes_in_another_order() -> None:
    stack = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    plane = Plane.shown(viewer(2, 0, ndim=3, point=(0, 2, 0)), Layer(stack))
    assert (plane.width, plane.height) == (2, 4)
    assert np.array_equal(plane.of(stack), stack[:, 2, :].T)
    assert plane.pixel((1, 2, 3)) == (1, 3)
    plane.of(stack)[3, 1] = -1  # a view: labels are written through it
    assert stack[1, 2, 3] == -1


def test_a_flat_layer_beside_a_stack() -> None:
    plane = Plane.shown(viewer(1, 2, ndim=3, point=(7, 0, 0)), Layer(np.zeros((3, 4))))
    assert (plane.index, plane.width, plane.height) == ((None, None), 4, 3)


def test_the_keys_of_planes() -> None:
    layer = Layer(np.zeros((2, 3, 4)))
    shown = [viewer(1, 2, ndim=3, point=(z, 0, 0)) for z in (0, 1, 0)]
    keys = [Plane.shown(one, layer).key for one in shown]
    assert keys[0] == keys[2] != keys[1]
    assert Plane.shown(viewer(2, 1, ndim=3, point=(0, 0, 0)), layer).key not in keys


@pytest.mark.parametrize(
    ("layer", "shown", "message"),
    [
        (
            Layer(np.zeros((2, 2, 3, 4))),
            viewer(2, 3, ndim=4, point=(0,) * 4),
            "has 4 dimensions",
        ),
        (
            Layer(np.zeros((2, 3, 4))),
            viewer(0, 1, 2, ndim=3, point=(0,) * 3, ndisplay=3),
            "the view is 3D",
        ),
        (Layer(np.zeros((2, 3, 4))), viewer(1, 2, ndim=3, point=(2, 0, 0)), "nothing at this"),
        (Layer(np.zeros((3, 4))), viewer(0, 1, ndim=3, point=(0,) * 3), "does not show both"),
    ],
)
def test_what_is_not_a_plane(layer: Layer, shown: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        Plane.shown(shown, layer)


def test_several_slices_as_one() -> None:
    shown = viewer(1, 2, ndim=3, point=(0, 0, 0))
    shown.dims.thickness = (3.0, 0.0, 0.0)
    layer = Layer(np.zeros((2, 3, 4)), projection_mode="mean")
    with pytest.raises(EventError, match="set the projection mode to none"):
        Plane.shown(shown, layer)


def test_a_position_outside() -> None:
    plane = Plane.shown(FLAT, Layer(np.zeros((3, 4))))
    for position in ((-0.6, 0), (0, 3.6), (3, 0)):
        with pytest.raises(EventError, match="outside 'image'"):
            plane.pixel(position)


# ---- looks


def test_grey_is_as_it_is() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    drawn = look(Layer(grey)).draw()
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32", "float32"])
def test_contrast_limits_and_gamma(dtype: str) -> None:
    values = np.linspace(0, 120, 64).astype(dtype).reshape(8, 8)
    drawn = look(Layer(values, contrast_limits=(20, 100), gamma=0.5)).draw()
    wanted = 255 * np.clip((values.astype(float) - 20) / 80, 0, 1) ** 0.5
    assert np.abs(drawn[:, :, 0] - wanted).max() <= 0.51


def test_a_colour_map() -> None:
    values = np.array([[0, 255]], np.uint8)
    drawn = look(Layer(values, colormap=Colormap((1, 0.5, 0, 1)))).draw()
    assert drawn.tolist() == [[[0, 0, 0], [255, 128, 0]]]


def test_colours_and_transparency() -> None:
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)
    assert look(Layer(pixels, rgb=True)).draw().tolist() == [[[200, 100, 50], [0, 0, 0]]]
    floats = np.array([[[1.0, 0.5, 0.0]]])
    drawn = look(Layer(floats, rgb=True, contrast_limits=(0, 1))).draw()
    assert drawn.tolist() == [[[255, 128, 0]]]


def test_samples_that_are_no_numbers() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]])
    drawn = look(Layer(values, contrast_limits=(0, 1))).draw()
    assert drawn[0, :, 0].tolist() == [0, 255, 0, 128]
    drawn = look(Layer(np.array([[False, True]]), contrast_limits=(0, 1))).draw()
    assert drawn[0, :, 0].tolist() == [0, 255]
    with pytest.raises(ImageError, match="samples of type complex64"):
        look(Layer(np.zeros((2, 2), np.complex64)))


def test_limits_that_leave_nothing() -> None:
    values = np.array([[1.0, 2.0]])
    assert look(Layer(values, contrast_limits=(1, 1))).draw()[0, :, 0].tolist() == [0, 255]
    huge = np.finfo(np.float64).max
    drawn = look(Layer(np.array([[-huge, huge]]), contrast_limits=(-huge, huge))).draw()
    assert drawn[0, :, 0].tolist() == [0, 255]


def test_only_the_plane_is_read() -> None:
    class Lazy:
        """An array as dask has them: it is read when it is converted."""

        shape, ndim, dtype = (9, 4, 4), 3, np.dtype(np.uint8)
        read: ClassVar[list[Any]] = []

        def __getitem__(self, index: Any) -> Any:
            self.read.append(index)
            return np.full((4, 4), 7, np.uint8)

    layer = Layer(Lazy())
    shown = look(layer, viewer(1, 2, ndim=3, point=(5, 0, 0)))
    assert not Lazy.read
    assert (shown.draw() == 7).all()
    assert Lazy.read == [(5, slice(None), slice(None))]


def test_a_pyramid_is_read_at_full_resolution() -> None:
    full = np.full((8, 8), 9, np.uint8)
    layer = Layer([full, full[::2, ::2]], multiscale=True)
    assert look(layer).draw().shape == (8, 8, 3)


def test_signatures() -> None:
    layer = Layer(np.zeros((2, 2), np.uint8))
    first = look(layer).signature
    assert look(layer).signature == first
    layer.contrast_limits = (0, 100)
    assert look(layer).signature != first


# ---- the engine's thread


@pytest.fixture
def engine(server: ServerProcess) -> Iterator[Engine]:
    opened = Engine()
    assert opened.connect(server.address) == f"{server.address}, model toy 1"
    yield opened
    opened.disconnect()


def wanted(server: ServerProcess, pixels: Any, *clicks: tuple[int, int, bool]) -> Any:
    with Client(server.address) as client, client.open(pixels) as session:
        for click in clicks:
            session.click(*click)
        return session.mask


def test_sessions_that_are_closed_to_save_memory_are_rebuilt(
    server: ServerProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_thread, "MAX_SESSIONS", 2)
    stack = np.stack([picture(seed=seed)[:, :, 0] for seed in range(4)])
    layer = Layer(stack)
    looks = [look(layer, viewer(1, 2, ndim=3, point=(z, 0, 0))) for z in range(4)]
    for one in looks:
        engine.act(one, lambda session: session.click(80, 60))
    assert sum(held.session is not None for held in engine._held.values()) == 2
    result = engine.act(looks[0], lambda session: session.click(30, 20, False))
    grey = np.repeat(stack[0][:, :, None], 3, axis=2)
    assert np.array_equal(result.mask, wanted(server, grey, (80, 60, True), (30, 20, False)))
    assert len(result.clicks) == 2


def test_an_event_that_fails_changes_nothing(engine: Engine) -> None:
    one = look(Layer(picture()[:, :, 0]))
    before = engine.act(one, lambda session: session.click(80, 60))
    with pytest.raises(EventError):
        engine.act(one, lambda session: session.click(1000, 60))
    after = engine.act(one)
    assert after.clicks == before.clicks
    assert np.array_equal(after.mask, before.mask)


def test_events_are_applied_all_or_none(engine: Engine) -> None:
    one = look(Layer(picture()[:, :, 0]))
    two = engine.act(one, methodcaller("click", 80, 60), methodcaller("click", 30, 20))
    with pytest.raises(EventError):
        engine.act(one, methodcaller("move_click", 1, 40, 40), methodcaller("remove_click", 5))
    after = engine.act(one)
    assert after.clicks == two.clicks
    assert np.array_equal(after.mask, two.mask)


def test_the_next_object_takes_no_pixels_of_the_first(engine: Engine) -> None:
    one = look(Layer(picture()[:, :, 0]))
    first = engine.act(one, lambda session: session.click(80, 60)).mask
    engine.next_object(one.plane.key)
    y, x = (int(i) for i in np.argwhere(~first)[0])
    second = engine.act(one, lambda session: session.click(x, y))
    assert len(second.clicks) == 1
    assert second.mask[y, x]
    assert not (second.mask & first).any()


def test_results_come_back_in_order_and_by_delivery(server: ServerProcess) -> None:
    delivered: queue.Queue[Callable[[], None]] = queue.Queue()
    thread = EngineThread(delivered.put)
    one = look(Layer(picture()[:, :, 0]))
    seen: list[object] = []

    def keep(value: object) -> None:
        seen.append(len(value.clicks) if isinstance(value, Result) else value)

    try:
        thread.submit(lambda engine: engine.connect(server.address), keep, keep)
        thread.submit(lambda e: e.act(one, lambda session: session.click(80, 60)), keep, keep)
        thread.submit(lambda e: e.act(one, lambda session: session.click(999, 60)), keep, keep)
        thread.submit(lambda e: [][1], keep, keep)
        thread.submit(lambda e: e.act(one, lambda session: session.click(30, 20)), keep, keep)
        assert not seen
        for _ in range(5):
            delivered.get(timeout=60)()
    finally:
        thread.join()
    assert seen[0] == f"{server.address}, model toy 1"
    assert seen[1] == 1
    assert isinstance(seen[2], EventError)
    assert isinstance(seen[3], ClickcutError)
    assert "IndexError" in str(seen[3])
    assert seen[4] == 2


def test_without_an_engine() -> None:
    with pytest.raises(ClickcutError, match="there is no engine; press Connect"):
        Engine().act(look(Layer(picture()[:, :, 0])), lambda session: session.click(1, 1))
