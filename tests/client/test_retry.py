"""A server that refuses names the time to come back; clients honour it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from client.test_hostile_server import HEIGHT, FakeServer
from server.harness import image_file

from clickcut.client import AsyncClient, Client
from clickcut.client.protocol import (
    FIRST_DELAY,
    RETRY_JITTER,
    Deadline,
    Patience,
    Sleep,
)
from clickcut.errors import BusyError, ClickcutError, LimitError, UnavailableError
from clickcut.grpc_status import DEFAULT_RETRY_MS, MAX_RETRY_MS, retry_ms_of, seconds_of
from clickcut.v1 import clickcut_pb2 as pb

BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED


# ---- what is on the wire


@pytest.mark.parametrize(
    ("error", "milliseconds"),
    [
        (BusyError("busy"), DEFAULT_RETRY_MS),
        (BusyError("busy", retry_after=0.2501), 251),
        (BusyError("busy", retry_after=1e-9), 1),
        (BusyError("busy", retry_after=1e9), MAX_RETRY_MS),
        (UnavailableError("shutting down", retry_after=3.0), None),
        (LimitError("too many clicks"), None),
        (ClickcutError("x", retry_after=3.0), None),
    ],
)
def test_only_what_may_succeed_later_names_a_time(error: ClickcutError, milliseconds: int) -> None:
    assert retry_ms_of(error) == milliseconds


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("250", 0.25),
        (250, 0.25),
        ("0", 0.0),
        ("9999999", MAX_RETRY_MS / 1000),
        *[
            (wrong, 0.0)
            for wrong in ("", "-5", "1e3", "nan", "٣", "250ms", "9" * 400, b"250", None)
        ],
    ],
)
def test_a_time_from_outside_is_checked(sent: object, seconds: float) -> None:
    assert seconds_of(sent) == seconds


# ---- patience


def sleeps(patience: Patience, error: ClickcutError) -> list[float]:
    return [action.seconds for action in patience.wait(error) if isinstance(action, Sleep)]


def test_it_never_comes_back_earlier_and_not_at_the_same_time_as_others() -> None:
    named = BusyError("busy", retry_after=2.0)
    waits = [sleeps(Patience(Deadline(60, 60)), named)[0] for _ in range(200)]
    assert min(waits) >= 2.0
    assert max(waits) <= 2.0 * (1 + RETRY_JITTER)
    assert np.std(waits) > 0.1


def test_without_a_time_the_delay_doubles() -> None:
    patience = Patience(Deadline(60, 60))
    waits = [sleeps(patience, BusyError("busy"))[0] for _ in range(4)]
    for k, wait in enumerate(waits):
        assert 0.75 <= wait / (FIRST_DELAY * 2**k) <= 1.25


def test_a_server_that_always_names_a_moment_is_asked_less_and_less_often() -> None:
    patience = Patience(Deadline(60, 60))
    waits = [sleeps(patience, BusyError("busy", retry_after=0.001))[0] for _ in range(6)]
    assert waits[5] > 8 * waits[0]


def test_it_does_not_wait_for_a_time_beyond_the_deadline() -> None:
    for deadline in (Deadline(5, 60), Deadline(60, 5)):
        with pytest.raises(BusyError):
            sleeps(Patience(deadline), BusyError("busy", retry_after=5.5))


def test_the_jitter_does_not_pass_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clickcut.client.protocol.time", SimpleNamespace(monotonic=lambda: 0.0))
    waits = [
        sleeps(Patience(Deadline(1.1, 60)), BusyError("busy", retry_after=1.0)) for _ in range(50)
    ]
    assert all(1.0 <= wait <= 1.1 for (wait,) in waits)


# ---- both clients


class Refusing(FakeServer):
    """Refuses the first attempt of each kind of call and names a time; notes when they come."""

    RETRY_MS = 400

    def __init__(self) -> None:
        super().__init__(self.refuse_click)
        self.came: dict[str, list[float]] = {}

    def is_first(self, kind: str) -> bool:
        self.came.setdefault(kind, []).append(time.monotonic())
        return len(self.came[kind]) == 1

    def refuse(self, kind: str, context: Any) -> None:
        if self.is_first(kind):
            names = (("clickcut-error", "BusyError"), ("retry-after", str(self.RETRY_MS)))
            context.set_trailing_metadata(names)
            context.abort(BUSY, "busy")

    def refuse_click(self, request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.HasField("click") and self.is_first("click"):
            reply.error.code, reply.error.retry = BUSY.value[0], True
            reply.error.retry_after_ms = self.RETRY_MS

    def Session(  # noqa: N802
        self, request_iterator: Iterator[pb.SessionRequest], context: Any
    ) -> Iterator[pb.SessionReply]:
        self.refuse("open", context)
        yield from super().Session(request_iterator, context)

    def Segment(self, request: pb.SegmentRequest, context: Any) -> pb.SegmentReply:  # noqa: N802
        self.refuse("segment", context)
        whole = self._reply(pb.SessionRequest(click=pb.Click(x=9)), "")
        return pb.SegmentReply(image=whole.image, result=whole.result)

    def check(self) -> None:
        for kind in ("open", "click", "segment"):
            first, second = self.came[kind]
            assert second - first >= 1e-3 * self.RETRY_MS


def test_the_client_comes_back_when_it_was_told() -> None:
    with Refusing() as server, Client(server.address) as client:
        session = client.open(image_file())
        assert session.click(7, 5).sum() == 7 * HEIGHT
        assert client.segment(image_file(), [(9, 9)]).sum() == 9 * HEIGHT
    server.check()


def test_the_async_client_comes_back_when_it_was_told() -> None:
    async def play(server: Refusing) -> None:
        async with AsyncClient(server.address) as client:
            session = await client.open(image_file())
            assert (await session.click(7, 5)).sum() == 7 * HEIGHT
            assert (await client.segment(image_file(), [(9, 9)])).sum() == 9 * HEIGHT

    with Refusing() as server:
        asyncio.run(play(server))
    server.check()


def test_a_time_that_is_too_late_is_an_error_at_once() -> None:
    server = Refusing()
    server.RETRY_MS = 3_000_000
    with server, Client(server.address) as client:
        with pytest.raises(BusyError) as refused:
            client.open(image_file())
        assert refused.value.retry_after == 3000
        assert len(server.came["open"]) == 1
        session = client.open(image_file())
        with pytest.raises(BusyError) as refused:
            session.click(7, 5)
        assert refused.value.retry_after == 3000
        assert session.click(8, 5).sum() == 8 * HEIGHT  # the session is as it was
