"""Nothing is lost: cut connections, killed servers, forgotten sessions."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from server.harness import (
    START_SECONDS,
    Gate,
    Line,
    ServerProcess,
    gauge,
    image_file,
    random_clicks,
    wait_until,
    write_bundle,
)

from clickcut.backends import load_predictor
from clickcut.client import AsyncClient, Client, DroppedEventError, UnavailableError
from clickcut.client.protocol import Limits
from clickcut.images import prepare
from clickcut.session import ClickSession

pytestmark = pytest.mark.slow

CLICKS = random_clicks(11, 10, 160, 120)
PATIENT = {"timeout": START_SECONDS, "retry_seconds": START_SECONDS}
"""Of a client that waits while a server starts."""


@pytest.fixture(scope="module")
def masks(bundle: Path) -> list[NDArray[np.bool_]]:
    """The masks after each click, without a server."""
    session = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
    found = []
    for click in CLICKS:
        session.click(*click)
        found.append(session.mask.copy())
    return found


def test_a_cut_connection_is_resumed(server: ServerProcess, masks: list[NDArray[np.bool_]]) -> None:
    with Line(server.port) as line, Client(line.address) as client:
        session = client.open(image_file())
        first_id = session.id
        for k, click in enumerate(CLICKS):
            if k % 3 == 1:
                line.cut()
                line.mend()
            np.testing.assert_array_equal(session.click(*click), masks[k])
        assert session.id == first_id
        assert session.num_clicks == len(CLICKS)


def test_a_connection_that_is_cut_while_computing(
    bundle: Path, tmp_path: Path, masks: list[NDArray[np.bool_]]
) -> None:
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, prelude=gate.prelude) as server,
        Line(server.port) as line,
        Client(line.address) as client,
    ):
        session = client.open(image_file())
        session.click(*CLICKS[0])
        gate.close()
        clicking = threading.Thread(target=session.click, args=CLICKS[1])
        clicking.start()
        gate.wait()
        line.cut()
        line.mend()
        gate.open()
        clicking.join()
        assert session.num_clicks == 2  # applied once, although it was sent twice
        np.testing.assert_array_equal(session.mask, masks[1])


def test_a_connection_that_is_down_for_a_while(
    server: ServerProcess, masks: list[NDArray[np.bool_]]
) -> None:
    with Line(server.port) as line, Client(line.address) as client:
        session = client.open(image_file())
        session.click(*CLICKS[0])
        line.cut()
        mending = threading.Timer(0.7, line.mend)
        mending.start()
        np.testing.assert_array_equal(session.click(*CLICKS[1]), masks[1])
        mending.join()


def test_a_connection_that_stays_down_is_an_error_and_no_loss(
    server: ServerProcess, masks: list[NDArray[np.bool_]]
) -> None:
    with Line(server.port) as line, Client(line.address, retry_seconds=0.3) as client:
        session = client.open(image_file())
        before = session.click(*CLICKS[0])
        line.cut()
        with pytest.raises(UnavailableError):
            session.click(*CLICKS[1])
        assert session.mask is before
        line.mend()
        session._conversation._limits = Limits(timeout=60.0, retry_seconds=30.0)
        np.testing.assert_array_equal(session.click(*CLICKS[1]), masks[1])


def test_a_killed_server_that_comes_back(
    bundle: Path, masks: list[NDArray[np.bool_]], free_address: str
) -> None:
    with (
        ServerProcess(bundle, address=free_address) as first,
        Client(free_address, **PATIENT) as client,
    ):
        session = client.open(image_file())
        for k in range(3):
            session.click(*CLICKS[k])
        session.click(5, 5)
        session.undo()
        first.kill()
        with ServerProcess(bundle, wait=False, address=free_address):
            np.testing.assert_array_equal(session.click(*CLICKS[3]), masks[3])
            assert session.num_clicks == 4
            np.testing.assert_array_equal(session.undo(), masks[2])
            np.testing.assert_array_equal(session.redo(), masks[3])


@pytest.mark.parametrize("stays", [True, False])
def test_a_restored_session_keeps_its_version_if_that_is_still_there(
    tmp_path: Path, masks: list[NDArray[np.bool_]], free_address: str, stays: bool
) -> None:
    old = write_bundle(tmp_path / "toy" / "1.onnx")
    with (
        ServerProcess(None, models=tmp_path, address=free_address) as first,
        Client(free_address, **PATIENT) as client,
    ):
        session = client.open(image_file())
        session.click(*CLICKS[0])
        first.kill()
        write_bundle(tmp_path / "toy" / "2.onnx", version="2", radius=5)
        if not stays:
            old.unlink()
        with ServerProcess(None, wait=False, models=tmp_path, address=free_address):
            mask = session.click(*CLICKS[1])
            assert session.model_version == ("1" if stays else "2")
            assert session.num_clicks == 2
            assert np.array_equal(mask, masks[1]) == stays


def test_all_that_was_done_is_told_to_a_new_server(bundle: Path, free_address: str) -> None:
    mask = np.zeros((120, 160), np.bool_)
    mask[20:90, 50:100] = True

    def play(session: Any) -> None:
        session.click(80, 60)
        session.box(30, 20, 120, 100)
        session.click(20, 20, False)
        session.move_click(0, 70, 60)
        session.next_object(exclude_finished=True)
        session.set_parameters(threshold=0.3, cut_lambda=1.5)
        session.next_object()
        session.start_from(mask)
        session.click(30, 30)
        session.set_parameters(seed_radius=6.0)
        session.reset()
        session.undo()
        session.edit_object(0)
        session.remove_click(1)
        session.edit_object(2)

    predictor = load_predictor(bundle, 1)
    parameters = predictor.metadata.parameters.changed(cut_sigma=9.0)
    here = ClickSession(prepare(image_file()), predictor, parameters)
    play(here)
    with (
        ServerProcess(bundle, address=free_address) as first,
        Client(free_address, **PATIENT) as client,
    ):
        session = client.open(image_file(), parameters={"cut_sigma": 9.0})
        play(session)
        np.testing.assert_array_equal(session.mask, here.mask)
        first.kill()
        with ServerProcess(bundle, wait=False, address=free_address):
            here.click(100, 80, False)
            np.testing.assert_array_equal(session.click(100, 80, positive=False), here.mask)
            assert session.object_index == 2
            assert session.can_undo
            session.undo()
            here.undo()
            np.testing.assert_array_equal(session.mask, here.mask)
            here.edit_object(0)
            np.testing.assert_array_equal(session.edit_object(0), here.mask)
            assert session.clicks == here.clicks


def test_a_server_killed_in_the_middle_of_a_click(
    bundle: Path, tmp_path: Path, masks: list[NDArray[np.bool_]], free_address: str
) -> None:
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, prelude=gate.prelude, address=free_address) as first,
        Client(free_address, **PATIENT) as client,
    ):
        session = client.open(image_file())
        session.click(*CLICKS[0])
        gate.close()
        clicking = threading.Thread(target=session.click, args=CLICKS[1])
        clicking.start()
        gate.wait()
        first.kill()
        with ServerProcess(bundle, wait=False, address=free_address):
            clicking.join()
            np.testing.assert_array_equal(session.mask, masks[1])
            assert session.num_clicks == 2


def test_a_server_that_is_replaced_in_order(
    bundle: Path, masks: list[NDArray[np.bool_]], free_address: str
) -> None:
    with (
        ServerProcess(bundle, drain_seconds=0, address=free_address) as first,
        Client(free_address, **PATIENT) as client,
    ):
        session = client.open(image_file())
        session.click(*CLICKS[0])
        first.terminate()
        assert first.join() == 0
        with ServerProcess(bundle, wait=False, address=free_address):
            np.testing.assert_array_equal(session.click(*CLICKS[1]), masks[1])


def test_a_session_that_the_server_dropped(bundle: Path, masks: list[NDArray[np.bool_]]) -> None:
    with (
        ServerProcess(bundle, idle_seconds=0.3, metrics_port=0) as server,
        Client(server.address) as client,
    ):
        session = client.open(image_file())
        first_id = session.id
        session.click(*CLICKS[0])
        wait_until(lambda: gauge(server, "clickcut_sessions") == 0, "it is evicted")
        np.testing.assert_array_equal(session.click(*CLICKS[1]), masks[1])
        assert session.id != first_id


def test_the_async_client_recovers_as_well(
    bundle: Path, masks: list[NDArray[np.bool_]], free_address: str
) -> None:
    async def play(first: ServerProcess) -> None:
        with Line(first.port) as line:
            async with AsyncClient(line.address, **PATIENT) as client:
                session = await client.open(image_file())
                await session.click(*CLICKS[0])
                line.cut()
                line.mend()
                np.testing.assert_array_equal(await session.click(*CLICKS[1]), masks[1])
                first.kill()
                with ServerProcess(bundle, wait=False, address=free_address):
                    np.testing.assert_array_equal(await session.click(*CLICKS[2]), masks[2])

    with ServerProcess(bundle, address=free_address) as first:
        asyncio.run(play(first))


def test_a_line_that_breaks_all_the_time_and_a_killed_server(
    bundle: Path, free_address: str
) -> None:
    events: list[tuple[str, tuple[Any, ...]]] = []
    for k, click in enumerate(random_clicks(2, 45, 160, 120)):
        events.append(("undo", ()) if k % 7 == 5 else ("click", click))
        if k == 15:
            events.append(("next_object", ()))
    here = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
    over, progress = threading.Event(), threading.Event()
    rng = random.Random(4)

    def break_it(line: Line) -> None:
        while not over.wait(rng.uniform(0.2, 0.6)):
            progress.clear()
            for _ in range(rng.choice((1, 2))):
                line.cut()
                over.wait(rng.choice((0.0, 0.05)))
                line.mend()
                over.wait(rng.uniform(0.0, 0.3))
            progress.wait()  # however slow the machine, events get through

    with contextlib.ExitStack() as stack:
        first = stack.enter_context(ServerProcess(bundle, address=free_address))
        line = stack.enter_context(Line(first.port))
        breaking = threading.Thread(target=break_it, args=(line,))
        breaking.start()
        try:
            with Client(line.address, **PATIENT) as client:
                session = client.open(image_file())
                for k, (name, arguments) in enumerate(events):
                    getattr(here, name)(*arguments)
                    mask = None
                    while mask is None:
                        # Cut twice while it was on its way: say it again.
                        with contextlib.suppress(DroppedEventError):
                            mask = getattr(session, name)(*arguments)
                    progress.set()
                    np.testing.assert_array_equal(mask, here.mask)
                    assert (session.num_clicks, session.can_undo) == (
                        here.num_clicks,
                        here.can_undo,
                    )
                    if k == 30:
                        first.kill()
                        again = ServerProcess(bundle, wait=False, address=free_address)
                        stack.enter_context(again)
        finally:
            over.set()
            progress.set()
            breaking.join()
