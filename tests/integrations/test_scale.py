"""Two replicas on a local Ray: the same masks, nothing lost, models replaced, failures named."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from server.harness import RawStream, image_file, random_clicks, wait_until, write_bundle

pytest.importorskip("ray", reason="Ray Serve is not installed (extra scale)")
pytest.importorskip("psutil")

from grpc_health.v1 import health_pb2, health_pb2_grpc
from integrations.scale_harness import START_SECONDS, Scaled, dying_worker
from store.stores import RedisServer

from clickcut.backends import load_predictor
from clickcut.client import AsyncClient, Client
from clickcut.errors import EventError, ImageError
from clickcut.images import prepare
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLICKS = random_clicks(3, 8, 160, 120)


def expected(bundle: Path, seed: int) -> list[NDArray[np.bool_]]:
    """The masks after each click, as the plain server gives them (tests/client)."""
    session = ClickSession(prepare(image_file(seed=seed)), load_predictor(bundle, 1))
    found = []
    for click in CLICKS:
        session.click(*click)
        found.append(session.mask.copy())
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_bundle(folder / "toy" / "1.onnx")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Redis where it is installed; else sessions are in memory, and clients replay their events."""
    if shutil.which("redis-server") is None:
        yield "memory"
        return
    with RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


@pytest.fixture(scope="module")
def scaled(models: Path, store: str) -> Iterator[Scaled]:
    running = Scaled("--replicas", 2, "--models", models, CLICKCUT_STORE=store)
    yield running
    assert not running.stop(), "processes of Ray were left running"
    assert running.process.returncode == 0, "\n".join(running.errors)


def test_masks_are_those_of_one_server(scaled: Scaled, models: Path) -> None:
    with Client(scaled.address) as client:
        for seed in range(4):
            wanted = expected(models / "toy" / "1.onnx", seed)
            with client.open(image_file(seed=seed)) as session:
                for click, mask in zip(CLICKS, wanted, strict=True):
                    np.testing.assert_array_equal(session.click(*click), mask)
                np.testing.assert_array_equal(session.undo(), wanted[-2])
            found = client.segment(image_file(seed=seed), CLICKS)
            np.testing.assert_array_equal(found, wanted[-1])


def test_errors_keep_their_class_and_the_session_goes_on(scaled: Scaled) -> None:
    with Client(scaled.address) as client:
        with pytest.raises(EventError, match="no model 'absent'"):
            client.open(image_file(), model="absent")
        with pytest.raises(ImageError):
            client.upload(b"not an image")
        with client.open(image_file()) as session:
            with pytest.raises(EventError):
                session.click(1e6, 1e6)
            assert session.click(*CLICKS[0]).any()


def test_the_asyncio_client_and_many_sessions_at_once(scaled: Scaled, models: Path) -> None:
    wanted = expected(models / "toy" / "1.onnx", 5)

    async def one(client: AsyncClient) -> None:
        async with await client.open(image_file(seed=5)) as session:
            for click, mask in zip(CLICKS, wanted, strict=True):
                np.testing.assert_array_equal(await session.click(*click), mask)

    async def run() -> None:
        async with AsyncClient(scaled.address) as client:
            await asyncio.gather(*(one(client) for _ in range(12)))

    asyncio.run(run())


def test_sessions_are_spread_and_stay_where_they_are(scaled: Scaled) -> None:
    def work() -> dict[int, float]:
        return {p.pid: p.cpu_times().user for p in scaled.replicas()}

    with Client(scaled.address) as client:
        sessions = [client.open(image_file(seed=9)) for _ in range(16)]
        before = work()
        for click in CLICKS:
            for session in sessions:
                session.click(*click)
        after = work()
        assert len(before) == 2
        assert all(after[pid] > spent for pid, spent in before.items()), "one replica did nothing"
        ids = [session.id for session in sessions]
        for session in sessions:  # a break does not move them
            session._driver._disconnect()
            session._conversation.interrupted()
            session.click(2, 2)
        assert [session.id for session in sessions] == ids


def test_health_is_answered_without_metadata(scaled: Scaled) -> None:
    with grpc.insecure_channel(scaled.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_a_client_without_metadata_works_as_well(scaled: Scaled, models: Path) -> None:
    wanted = expected(models / "toy" / "1.onnx", 8)
    x, y, positive = CLICKS[0]
    click = pb.Click(x=x, y=y, negative=not positive)
    with RawStream(scaled.address) as stream:
        stream.ask(open=pb.Open(image=image_file(seed=8)))
        reply = stream.ask(pb.SessionRequest(sequence=1, click=click))
        assert reply.result.area == wanted[0].sum()
        stream.send(pb.SessionRequest(open=pb.Open()))
        assert stream.receive().error.message


def test_a_killed_replica_loses_nothing(scaled: Scaled, models: Path, store: str) -> None:
    wanted = expected(models / "toy" / "1.onnx", 6)
    with Client(scaled.address) as client:
        sessions = [client.open(image_file(seed=6)) for _ in range(8)]
        ids = [session.id for session in sessions]
        for k, click in enumerate(CLICKS):
            if k == 4:
                victim = scaled.replicas()[0]
                victim.kill()
            for session in sessions:
                np.testing.assert_array_equal(session.click(*click), wanted[k])
        assert [session.num_clicks for session in sessions] == [len(CLICKS)] * len(sessions)
        if store != "memory":  # resumed from the store by the other replica, not replayed
            assert [session.id for session in sessions] == ids
        wait_until(lambda: len(scaled.replicas()) == 2, "the replica is replaced", START_SECONDS)


def test_a_new_model_takes_over_and_open_sessions_keep_theirs(scaled: Scaled, models: Path) -> None:
    wanted = expected(models / "toy" / "1.onnx", 7)
    pids = {process.pid for process in scaled.replicas()}
    with Client(scaled.address) as client:
        session = client.open(image_file(seed=7))
        session.click(*CLICKS[0])
        write_bundle(models / "toy" / "2.onnx", version="2", radius=5)
        scaled.hang_up()
        scaled.wait_for("models reloaded")

        def all_new() -> bool:
            return all("2" in {m.version for m in client.models()} for _ in range(8))

        wait_until(all_new, "both replicas offer the new version")
        for k, click in enumerate(CLICKS[1:], 1):
            np.testing.assert_array_equal(session.click(*click), wanted[k])
        with client.open(image_file(seed=7), model="toy@2") as newer:
            newer.click(*CLICKS[0])
            assert newer.model_version == "2"
    assert {process.pid for process in scaled.replicas()} == pids


def test_a_model_that_cannot_be_read_changes_nothing(scaled: Scaled, models: Path) -> None:
    pids = {process.pid for process in scaled.replicas()}
    broken = models / "toy" / "3.onnx"
    broken.write_bytes(b"not a model")
    try:
        scaled.hang_up()
        wait_until(lambda: any("3.onnx" in line for line in scaled.errors), "it is named")
        with Client(scaled.address) as client, client.open(image_file()) as session:
            assert session.click(*CLICKS[0]).any()
            assert "3" not in {m.version for m in client.models()}
    finally:
        broken.unlink()
    assert {process.pid for process in scaled.replicas()} == pids


# ---- that do not start


def test_a_replica_that_dies_while_it_starts_is_named_and_given_up(
    bundle: Path, tmp_path: Path
) -> None:
    path = os.pathsep.join([dying_worker(tmp_path), os.environ.get("PYTHONPATH", "")])
    with Scaled("--replicas", 1, "--model", bundle, wait=False, PYTHONPATH=path) as scaled:
        assert scaled.process.returncode == 2
    (line,) = [x for x in scaled.errors if x.startswith("clickcut scale:")]
    assert "a replica does not start" in line
    assert "died" in line
