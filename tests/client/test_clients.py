"""Both clients against a real server: what they give, what they raise."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from server.harness import (
    DEADLINE,
    Gate,
    RawStream,
    ServerProcess,
    encode,
    image_file,
    picture,
    random_clicks,
)

from clickcut.backends import load_predictor
from clickcut.clicks import PlacedClick
from clickcut.client import (
    AsyncClient,
    BusyError,
    Client,
    StalledError,
    TakenOverError,
    UnreachableError,
    UsageError,
)
from clickcut.client.protocol import Limits
from clickcut.errors import EventError, ImageError, SessionNotFoundError
from clickcut.images import digest_of, prepare, prepare_pixels
from clickcut.region import Region
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb

WIDTH, HEIGHT = 160, 120
Events = list[Callable[[Any], Any]]


def everything(mask: np.ndarray[Any, Any]) -> Events:
    """One event of each kind, for any kind of session."""
    return [
        lambda s: s.click(80, 60),
        lambda s: s.click(20, 20, positive=False),
        lambda s: s.stroke([(30, 90), (60, 100), (90, 95)]),
        lambda s: s.undo(),
        lambda s: s.redo(),
        lambda s: s.move_click(0, 90, 50),
        lambda s: s.remove_click(1),
        lambda s: s.undo(),
        lambda s: s.reset(),
        lambda s: s.undo(),
        lambda s: s.start_from(mask),
        lambda s: s.click(100, 30),
        lambda s: s.set_parameters(cut_lambda=2.0, threshold=0.4),
        lambda s: s.next_object(),
        lambda s: s.box(30, 20, 90, 80),
        lambda s: s.click(50, 50),
        lambda s: s.next_object(exclude_finished=True),
        lambda s: s.click(70, 100),
        lambda s: s.edit_object(0),
        lambda s: s.undo(),
        lambda s: s.edit_object(1, exclude_finished=True),
        lambda s: s.set_parameters(cut=False),
    ]


def start_mask() -> np.ndarray[Any, Any]:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[30:70, 40:110] = True
    return mask


def expected(bundle: Path) -> list[np.ndarray[Any, Any]]:
    """The same events without a server."""
    session = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
    masks = []
    for event in everything(start_mask()):
        if "stroke" in event.__code__.co_names:
            session.stroke(np.array([(30, 90), (60, 100), (90, 95)], np.float64))
        else:
            event(session)
        masks.append(session.mask.copy())
    return masks


def test_every_event_gives_the_engine_s_mask(bundle: Path, server: ServerProcess) -> None:
    with Client(server.address) as client:
        session = client.open(image_file())
        assert session.mask.shape == (HEIGHT, WIDTH)
        assert not session.mask.any()
        kept = []
        for event, wanted in zip(everything(start_mask()), expected(bundle), strict=True):
            mask = event(session)
            assert mask.dtype == np.bool_
            np.testing.assert_array_equal(mask, wanted)
            assert mask is session.mask
            kept.append(mask)
        for mask, wanted in zip(kept, expected(bundle), strict=True):
            np.testing.assert_array_equal(mask, wanted)  # each an array of its own
        with pytest.raises(ValueError, match="read-only"):
            mask[0, 0] = True


def test_the_async_client_gives_the_same(bundle: Path, server: ServerProcess) -> None:
    async def play() -> list[np.ndarray[Any, Any]]:
        async with (
            AsyncClient(server.address) as client,
            await client.open(image_file()) as session,
        ):
            return [await event(session) for event in everything(start_mask())]

    for mask, wanted in zip(asyncio.run(play()), expected(bundle), strict=True):
        np.testing.assert_array_equal(mask, wanted)


def test_what_a_session_tells(server: ServerProcess) -> None:
    with Client(server.address) as client, client.open(image_file()) as session:
        assert (session.width, session.height) == (WIDTH, HEIGHT)
        assert session.digest == digest_of(image_file())
        assert (session.model, session.object_index, session.num_clicks) == ("toy", 0, 0)
        assert not session.can_undo
        assert session.polygons() == []
        assert not session.probability().any()
        session.click(80, 60)
        assert session.can_undo
        assert not session.can_redo
        assert session.num_clicks == 1
        assert session.timings["network"] > 0
        assert session.memory_bytes > 0
        assert session.estimated_sigma == pytest.approx(prepare(image_file()).edges.sigma)
        outline = session.polygons(1.0)[0]
        assert outline.points.min() >= -0.5
        mask = session.mask
        probability = session.probability()
        assert probability.shape == (HEIGHT, WIDTH)
        assert probability[mask].mean() > probability[~mask].mean()
        assert session.mask is mask  # asking changed nothing
        session.undo()
        assert session.can_redo


def test_the_objects_are_listed(server: ServerProcess) -> None:
    with Client(server.address) as client, client.open(image_file()) as session:
        masks = [session.click(80, 60)]
        session.next_object()
        masks.append(session.mask)
        session.next_object(exclude_finished=True)
        masks.append(session.box(10, 60, 60, 110))
        assert (session.object_index, session.num_objects) == (2, 3)
        assert not (masks[2] & masks[0]).any()
        found = session.objects()
        assert [o.num_clicks for o in found] == [1, 0, 0]
        for item, mask in zip(found, masks, strict=True):
            whole = item.selection.inside(Region(0, 0, WIDTH, HEIGHT))
            np.testing.assert_array_equal(whole, mask)
            assert item.selection.area == mask.sum()
        np.testing.assert_array_equal(session.edit_object(0), masks[0])
        for refused in (
            lambda: session.edit_object(3),
            lambda: session.edit_object(-1),
            lambda: session.box(10, 60, 5, 110),
            lambda: session.box(10, 60, float("nan"), 110),
        ):
            with pytest.raises(EventError):
                refused()
        assert session.object_index == 0

    async def listed() -> list[int]:
        async with (
            AsyncClient(server.address) as client,
            await client.open(image_file()) as session,
        ):
            await session.box(10, 60, 60, 110)
            await session.next_object()
            return [o.selection.area for o in await session.objects()]

    area, empty = asyncio.run(listed())
    assert (area > 0, empty) == (True, 0)


def test_a_box_without_a_session(server: ServerProcess) -> None:
    with Client(server.address) as client, client.open(image_file()) as session:
        boxed = client.segment(image_file(), box=(10, 60, 60, 110))
        np.testing.assert_array_equal(boxed, session.box(10, 60, 60, 110))
        both = client.segment(image_file(), [(30, 80, False)], box=(10, 60, 60, 110))
        np.testing.assert_array_equal(both, session.click(30, 80, positive=False))
        with pytest.raises(EventError, match="beyond the image"):
            client.segment(image_file(), box=(10, 60, 600, 110))


def test_the_clicks_in_force_are_listed(server: ServerProcess) -> None:
    with Client(server.address) as client, client.open(image_file()) as session:
        assert session.clicks == []
        session.click(80.4, 60)
        session.click(20, 20, positive=False)
        session.stroke([(30, 90), (60, 100)])
        stroke = PlacedClick(30, 90, True, 31)
        listed = [PlacedClick(80, 60, True), PlacedClick(20, 20, False), stroke]
        assert session.clicks == listed
        session.move_click(1, 25, 21)
        assert session.clicks == [listed[0], PlacedClick(25, 21, False), stroke]
        session.probability()
        assert len(session.clicks) == session.num_clicks == 3
        for refused in (
            lambda: session.move_click(2, 5, 5),
            lambda: session.move_click(0, -5, 5),
            lambda: session.remove_click(3),
            lambda: session.remove_click(2**40),
            lambda: session.remove_click(-1),
        ):
            with pytest.raises(EventError):
                refused()
        assert len(session.clicks) == 3
        session.remove_click(0)
        session.undo()
        session.undo()
        assert session.clicks == listed


def test_an_image_may_be_a_path_bytes_or_pixels(server: ServerProcess, tmp_path: Path) -> None:
    pixels = picture(70, 50, seed=9)
    data = encode(pixels[:, :, ::-1])
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with Client(server.address) as client:
        masks = [client.segment(image, [(30, 20)]) for image in (path, str(path), data, pixels)]
        session = client.open(pixels)
        masks.append(session.click(30, 20))
        for mask in masks[1:]:
            np.testing.assert_array_equal(mask, masks[0])
        assert prepare_pixels(pixels).pixels.shape == (50, 70, 3)


def test_an_image_is_sent_once(server: ServerProcess) -> None:
    data = image_file(200, 150, seed=42)
    with Client(server.address) as client:
        first = client.open(data)
        second = client.open(data)
        assert first.timings["decode"] > 0
        assert second.timings["decode"] == 0
        assert client.upload(data) == digest_of(data)


def test_a_large_image_goes_in_chunks(server: ServerProcess) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (1800, 2000, 3), np.uint8)
    data = encode(noise, ".bmp")  # larger than the server's message limit
    with Client(server.address) as client:
        assert client.segment(data, [(5, 5)]).shape == (1800, 2000)
        assert client.upload(data) == digest_of(data)  # known: ends before all is sent
        with client.open(encode(noise[1:], ".bmp")) as session:
            assert session.height == 1799


def test_the_async_client_s_other_methods(server: ServerProcess) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (1800, 2000, 3), np.uint8)
    data = encode(noise, ".bmp")

    async def play() -> None:
        async with AsyncClient(server.address) as client:
            assert await client.upload(data) == digest_of(data)
            assert await client.upload(data) == digest_of(data)
            assert (await client.segment(data, [(5, 5)])).shape == (1800, 2000)
            assert [m.name for m in await client.models()] == ["toy"]
            with pytest.raises(ImageError, match="not an image"):
                await client.open(b"hello")
            session = await client.open(image_file())
            with pytest.raises(EventError, match="nothing to undo"):
                await session.undo()
            await session.click(80, 60)
            assert (await session.probability()).shape == (HEIGHT, WIDTH)
        with pytest.raises(UsageError, match="closed"):
            await client.models()

    asyncio.run(play())


def test_segment(bundle: Path, server: ServerProcess) -> None:
    session = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
    session.start_from(start_mask())
    session.click(80, 60)
    session.click(20, 20, False)
    with Client(server.address) as client:
        mask = client.segment(
            image_file(), [(80, 60), (20, 20, False)], start_from=start_mask(), model="toy"
        )
        np.testing.assert_array_equal(mask, session.mask)
        rough = client.segment(image_file(), [(80, 60)], parameters={"cut": False})
        assert rough.any()


def test_models(server: ServerProcess) -> None:
    with Client(server.address) as client:
        (model,) = client.models()
        assert (model.name, model.is_default, model.input_size) == ("toy", True, 64)
        assert model.metadata["guidance"]["encoding"] == "disc"


# ---- errors


def test_errors_have_their_types_and_the_server_s_words(server: ServerProcess) -> None:
    with Client(server.address) as client:
        with pytest.raises(ImageError, match="not an image"):
            client.open(b"hello")
        with pytest.raises(ImageError, match="not an image"):
            client.upload(b"hello")
        with pytest.raises(ImageError, match="cannot be read"):
            client.open("/no/such/file.jpg")
        with pytest.raises(ImageError, match=r"\(H, W, 3\)"):
            client.open(np.zeros((5, 5), np.uint8))
        with pytest.raises(ImageError, match="got int"):
            client.open(7)  # type: ignore[arg-type]
        with pytest.raises(EventError, match="this server has toy"):
            client.open(image_file(), model="gpt")
        with pytest.raises(EventError, match="threshold"):
            client.open(image_file(), parameters={"threshold": 2.0})
        with pytest.raises(EventError, match="unknown parameter"):
            client.open(image_file(), parameters={"colour": 2.0})
        with pytest.raises(EventError, match="outside"):
            client.segment(image_file(), [(-7, 5)])


def test_a_refused_event_changes_nothing(server: ServerProcess) -> None:
    with Client(server.address) as client, client.open(image_file()) as session:
        before = session.click(80, 60)
        for bad in (
            lambda: session.click(-3, 5),
            lambda: session.click(float("nan"), 5),
            lambda: session.redo(),
            lambda: session.stroke(np.zeros((0, 2))),
            lambda: session.stroke(np.zeros(3)),
            lambda: session.start_from(np.zeros((3, 3), np.bool_)),
            lambda: session.start_from(np.zeros((0, 3), np.bool_)),
            lambda: session.set_parameters(threshold=5),
        ):
            with pytest.raises(EventError):
                bad()
            assert session.mask is before
        assert session.click(90, 60).any()
        assert session.num_clicks == 2


def test_a_closed_session_is_closed(server: ServerProcess) -> None:
    with Client(server.address) as client:
        with client.open(image_file()) as session:
            mask = session.click(80, 60)
        with pytest.raises(SessionNotFoundError, match="closed"):
            session.click(90, 60)
        assert session.mask is mask
        session.close()


def test_a_program_that_closes_nothing_ends(server: ServerProcess) -> None:
    code = (
        "import sys; from clickcut.client import Client\n"
        f"session = Client({server.address!r}).open(sys.stdin.buffer.read())\n"
        "print(session.click(80, 60).any())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=image_file(), capture_output=True, timeout=DEADLINE
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"True", b"")


def test_no_server() -> None:
    with Client("127.0.0.1:1", retry_seconds=0.1) as client:
        with pytest.raises(UnreachableError, match="is it running"):
            client.open(image_file())
        with pytest.raises(UnreachableError):
            client.models()
    with pytest.raises(UsageError, match="closed"):
        client.models()


def test_another_client_takes_a_session_over(server: ServerProcess) -> None:
    with Client(server.address) as client, RawStream(server.address) as other:
        session = client.open(image_file())
        session.click(80, 60)
        assert other.ask(open=pb.Open(session_id=session.id)).num_clicks == 1
        with pytest.raises(TakenOverError):
            session.click(90, 60)
        session.click(90, 60)  # said again, it is meant: this client takes it back
        assert session.num_clicks == 2


@pytest.mark.slow
def test_a_busy_server_is_tried_again(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, prelude=gate.prelude, workers=1, queue=0) as server,
        Client(server.address) as client,
        Client(server.address, retry_seconds=0.3) as hasty,
    ):
        first, second = client.open(image_file()), client.open(image_file())
        third = client.open(image_file())
        gate.close()
        clicking = [threading.Thread(target=first.click, args=(80, 60))]
        clicking[0].start()
        gate.wait()
        patient = third._conversation._limits
        third._conversation._limits = hasty._limits
        with pytest.raises(BusyError, match="busy"):
            third.click(80, 60)
        third._conversation._limits = patient
        with pytest.raises(BusyError, match="busy"):
            hasty.open(image_file(40, 30))
        clicking.append(threading.Thread(target=second.click, args=(80, 60)))
        clicking[1].start()
        gate.open()
        for thread in clicking:
            thread.join()
        assert [first.num_clicks, second.num_clicks, third.num_clicks] == [1, 1, 0]
        assert third.click(80, 60).any()


@pytest.mark.slow
def test_an_answer_that_does_not_come(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, prelude=gate.prelude) as server,
        Client(server.address) as client,
    ):
        session = client.open(image_file())
        gate.close()
        patient = session._conversation._limits
        for seconds in (0.5, 5.0, 50.0):  # a machine that stands still does not send it in time
            session._conversation._limits = Limits(timeout=seconds, retry_seconds=30.0)
            with pytest.raises(StalledError, match=rf" {seconds:g} s"):
                session.click(80, 60)
            if gate.reached:
                break
        session._conversation._limits = patient
        gate.wait()
        gate.open()
        session.click(90, 60)
        assert session.num_clicks == 2  # the first was applied in the end, and is not lost


@pytest.mark.slow
def test_open_waits_for_a_server_that_warms_up(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.close()
    with (
        ServerProcess(bundle, wait=False, prelude=gate.prelude) as server,
        Client(server.address) as client,
    ):
        gate.wait()
        opened = []
        opening = threading.Thread(target=lambda: opened.append(client.open(image_file())))
        opening.start()
        gate.open()
        opening.join()
        assert opened[0].click(80, 60).any()


@pytest.mark.slow
def test_cancelling_an_event_leaves_the_session(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)

    async def play(server: ServerProcess) -> None:
        async with AsyncClient(server.address) as client:
            session = await client.open(image_file())
            await session.click(80, 60)
            gate.close()
            clicking = asyncio.create_task(session.click(20, 20, positive=False))
            await asyncio.to_thread(gate.wait)
            clicking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await clicking
            gate.open()
            mask = await session.click(100, 60)
            assert session.num_clicks == 3
            wanted = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
            for x, y, positive in ((80, 60, True), (20, 20, False), (100, 60, True)):
                wanted.click(x, y, positive)
            np.testing.assert_array_equal(mask, wanted.mask)

    with ServerProcess(bundle, prelude=gate.prelude) as server:
        asyncio.run(play(server))


def test_many_async_sessions_at_once(server: ServerProcess) -> None:
    async def play() -> list[int]:
        async with AsyncClient(server.address) as client:
            sessions = await asyncio.gather(*(client.open(image_file()) for _ in range(8)))

            async def clicks(session: Any) -> int:
                for click in random_clicks(5, 4, WIDTH, HEIGHT):
                    await session.click(*click)
                return int(session.mask.sum())

            return await asyncio.gather(*(clicks(session) for session in sessions))

    assert len(set(asyncio.run(play()))) == 1


def test_the_client_needs_neither_network_nor_kernels() -> None:
    heavy = ("onnxruntime", "numba", "torch", "maxflow", "clickcut.cut", "clickcut.session")
    code = f"import sys, clickcut.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# ---- windows


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def deep_file() -> bytes:
    """A 16-bit PNG of which 10 bits are used."""
    grey = np.asarray(picture()[..., 0].astype(np.uint16) * 4)
    return bytes(cv2.imencode(".png", grey)[1])


def test_a_window_is_applied_and_reported(client: Client) -> None:
    data = deep_file()
    prepared = prepare(data)
    assert prepared.window is not None
    with client.open(data) as session:
        assert session.window == (prepared.window.low, prepared.window.high)
        stretched = session.click(80, 60)
    with client.open(data, window=(0, 65535)) as session:
        assert session.window == (0.0, 65535.0)
        dark = session.click(80, 60)
    with client.open(image_file()) as session:
        assert session.window is None
    assert (stretched != dark).any()
    assert (client.segment(data, [(80, 60)], window=(0, 65535)) == dark).all()
    assert client.upload(data, window=(0, 900)) == digest_of(data)


def test_an_impossible_window_is_refused(client: Client) -> None:
    for window in ((5, 5), (3, 1), (float("nan"), 1), (1,), ("a", "b"), 5):
        with pytest.raises(ImageError, match="a window"):
            client.open(deep_file(), window=window)  # type: ignore[arg-type]


def test_a_large_file_is_uploaded_with_its_window(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clickcut.client import protocol, recovery

    monkeypatch.setattr(recovery, "INLINE_BYTES", 10)
    monkeypatch.setattr(protocol, "INLINE_BYTES", 10)
    with client.open(deep_file(), window=(10, 700)) as session:
        assert session.window == (10.0, 700.0)
