"""Many at once: the same masks as alone, an event loop that answers, a queue that has an end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray
from server.harness import (
    DEADLINE,
    Gate,
    RawStream,
    ServerProcess,
    image_file,
    random_clicks,
    wait_until,
)

from clickcut.backends import load_predictor
from clickcut.client import Client
from clickcut.images import prepare
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

OPEN = pb.SessionRequest(open=pb.Open(image=image_file()))
CLICK = pb.SessionRequest(click=pb.Click(x=80, y=60))


def masks_alone(bundle: Path, data: bytes, seed: int) -> list[NDArray[np.bool_]]:
    """Without a server."""
    image = prepare(data)
    session = ClickSession(image, load_predictor(bundle, 1))
    masks = []
    for x, y, positive in random_clicks(seed, 8, image.width, image.height):
        session.click(x, y, positive)
        masks.append(session.mask.copy())
    return masks


def test_eight_sessions_at_once_give_the_masks_of_each_alone(
    bundle: Path, server: ServerProcess
) -> None:
    files = [image_file(160 + 20 * (k % 3), 120, seed=k % 3) for k in range(8)]

    def play(k: int) -> list[NDArray[np.bool_]]:
        with Client(server.address) as client, client.open(files[k]) as session:
            clicks = random_clicks(k, 8, session.width, session.height)
            return [session.click(*click) for click in clicks]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(play, range(8)))
    for k, masks in enumerate(together):
        for got, wanted in zip(masks, masks_alone(bundle, files[k], k), strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
def test_the_loop_answers_while_all_workers_compute(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, prelude=gate.prelude, workers=1, queue=0) as server,
        ExitStack() as stack,
    ):
        channel = stack.enter_context(grpc.insecure_channel(server.address))
        busy, other = (stack.enter_context(RawStream(server.address)) for _ in range(2))
        busy.ask(OPEN)
        other.ask(OPEN)
        gate.close()
        busy.send(CLICK)
        gate.wait()
        stub = clickcut_pb2_grpc.ClickcutStub(channel)
        assert stub.ListModels(pb.ListModelsRequest(), timeout=DEADLINE).models
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE).status
        assert status == health_pb2.HealthCheckResponse.SERVING
        refused = other.ask(CLICK)  # no worker, no queue: the session stays
        assert refused.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert "busy" in refused.error.message
        assert refused.error.retry
        assert refused.error.retry_after_ms > 0
        third = stack.enter_context(RawStream(server.address))
        third.send(OPEN)
        ended = third.status()
        assert ended.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(ended.trailing_metadata())["retry-after"]) > 0
        gate.open()
        assert busy.receive().num_clicks == 1
        assert other.ask(CLICK).num_clicks == 1


@pytest.mark.slow
def test_work_that_waits_is_done_in_turn(bundle: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with (
        ServerProcess(bundle, prelude=gate.prelude, workers=1, queue=3) as server,
        ExitStack() as stack,
    ):
        streams = [stack.enter_context(RawStream(server.address)) for _ in range(4)]
        for stream in streams:
            stream.ask(OPEN)
        gate.close()
        for stream in streams:
            stream.send(CLICK)
        gate.wait()
        gate.open()
        replies = [stream.receive() for stream in streams]
        assert [reply.num_clicks for reply in replies] == [1] * 4
        assert max(reply.timings.queue for reply in replies) > 0


def test_one_image_sent_by_many_is_held_once(server: ServerProcess) -> None:
    data = image_file(400, 300, seed=77)

    def send(_: int) -> str:
        with RawStream(server.address) as raw:
            return raw.ask(open=pb.Open(image=data)).image.digest

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(send, range(6)))) == 1


@pytest.mark.slow
def test_an_error_inside_leaves_the_session(bundle: Path) -> None:
    broken = """
from clickcut.backends.onnx_runtime import OnnxPredictor
real = OnnxPredictor.predict
def predict(self, batch):
    if (batch[0, 4] != 0).any() and batch.shape[0] == 1 and predict.ready:
        raise ZeroDivisionError("a fault for the test")
    return real(self, batch)
predict.ready = False
OnnxPredictor.predict = predict
import clickcut.server.process as app
warm = app.warm_up_all
def warm_up(*args):
    warm(*args)
    predict.ready = True
app.warm_up_all = warm_up
"""
    with ServerProcess(bundle, prelude=broken) as server, RawStream(server.address) as raw:
        raw.ask(OPEN)
        before = raw.ask(CLICK)
        failed = raw.ask(click=pb.Click(x=10, y=10, negative=True))
        assert failed.error.code == grpc.StatusCode.INTERNAL.value[0]
        assert "ZeroDivision" not in failed.error.message
        fault = "ZeroDivisionError: a fault for the test"
        wait_until(lambda: any(fault in line for line in server.errors), "the log says it")
        assert raw.ask(show=pb.Show()).result.rle == before.result.rle
        assert raw.ask(click=pb.Click(x=90, y=60)).num_clicks == 2
