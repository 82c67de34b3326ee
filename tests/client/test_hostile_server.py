"""Servers that break, lie or send garbage: a client raises a clear error and goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from server.harness import START_SECONDS, ServerProcess, image_file, wait_until

from clickcut.backends import load_predictor
from clickcut.client import AsyncClient, Client, DroppedEventError, ServerError, UnavailableError
from clickcut.encoding import to_rle
from clickcut.errors import EventError, SessionNotFoundError
from clickcut.images import prepare
from clickcut.session import ClickSession
from clickcut.v1 import clickcut_pb2 as pb
from clickcut.v1 import clickcut_pb2_grpc

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 60, 40
POISON = 13
"""x of a click that scripts take offence at."""
EXIT_CODE = 9


class BrokenError(Exception):
    """What a script raises to break the connection."""


class FakeServer(clickcut_pb2_grpc.ClickcutServicer):
    """Keeps sessions like a real server, except for what a script does to its replies.

    Args:
        script: is given each request and the proper reply; may change it or raise `BrokenError`.
        forgets: whether a break loses all sessions, as when the process died.
        address: to listen at.
    """

    def __init__(
        self,
        script: Callable[[pb.SessionRequest, pb.SessionReply], None] = lambda request, reply: None,
        forgets: bool = False,
        address: str = "127.0.0.1:0",
    ) -> None:
        self.script = script
        self.forgets = forgets
        self.received: list[pb.SessionRequest] = []
        self.segmented = 0
        self.models = pb.ListModelsReply()
        self._applied: dict[str, int] = {}
        self._columns = 0
        self._server = grpc.server(ThreadPoolExecutor(8))
        clickcut_pb2_grpc.add_ClickcutServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(address)}"

    def __enter__(self) -> FakeServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    def count(self, kind: str) -> int:
        return sum(request.WhichOneof("event") == kind for request in self.received)

    def Session(  # noqa: N802
        self, request_iterator: Iterator[pb.SessionRequest], context: Any
    ) -> Iterator[pb.SessionReply]:
        session_id = ""
        for request in request_iterator:
            self.received.append(request)
            kind = request.WhichOneof("event")
            if kind == "open":
                session_id = request.open.session_id or f"session {len(self.received)}"
                if request.open.session_id and session_id not in self._applied:
                    context.set_trailing_metadata((("clickcut-error", "SessionNotFoundError"),))
                    context.abort(grpc.StatusCode.NOT_FOUND, "no such session")
                self._applied.setdefault(session_id, 0)
            reply = self._reply(request, session_id)
            try:
                self.script(request, reply)
            except BrokenError:
                if self.forgets:
                    self._applied.clear()
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if request.sequence and not reply.HasField("error"):
                self._applied[session_id] = request.sequence
                self._columns = int(request.click.x)
            yield reply
            if kind == "close":
                return

    def _reply(self, request: pb.SessionRequest, session_id: str) -> pb.SessionReply:
        columns = int(request.click.x) if request.HasField("click") else self._columns
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[:, :columns] = True
        return pb.SessionReply(
            sequence=request.sequence,
            session_id=session_id,
            applied_sequence=request.sequence or self._applied.get(session_id, 0),
            image=pb.ImageInfo(width=WIDTH, height=HEIGHT, digest="0" * 64, model="toy"),
            result=pb.Result(
                rle=pb.Rle(height=HEIGHT, width=WIDTH, counts=to_rle(mask)),
                rectangle=pb.Rectangle(width=WIDTH, height=HEIGHT),
                area=int(mask.sum()),
            ),
        )

    def Segment(self, request: pb.SegmentRequest, context: Any) -> pb.SegmentReply:  # noqa: N802
        self.segmented += 1
        reply = pb.SessionReply()
        try:
            self.script(pb.SessionRequest(), reply)
        except BrokenError:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return pb.SegmentReply(image=reply.image, result=reply.result)

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsReply:  # noqa: N802
        return self.models


# ---- events that break the connection


def breaks_on_poison(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
    if request.click.x == POISON:
        raise BrokenError


@pytest.mark.parametrize("forgets", [False, True], ids=["session survives", "session lost"])
def test_an_event_that_breaks_two_streams_is_dropped(forgets: bool) -> None:
    with FakeServer(breaks_on_poison, forgets) as server, Client(server.address) as client:
        session = client.open(image_file())
        session.click(5, 5)
        before = session.mask
        with pytest.raises(DroppedEventError, match=r"the positive click \(13, 7\)"):
            session.click(POISON, 7)
        assert sum(request.click.x == POISON for request in server.received) == 2
        np.testing.assert_array_equal(session.mask, before)
        session.click(20, 5)
        assert sum(request.click.x == POISON for request in server.received) == 2
        assert session.mask.sum() == 20 * HEIGHT


def test_the_async_client_drops_it_as_well() -> None:
    async def play(server: FakeServer) -> None:
        async with AsyncClient(server.address) as client:
            session = await client.open(image_file())
            with pytest.raises(DroppedEventError, match="click"):
                await session.click(POISON, 7)
            await session.click(20, 5)
        assert sum(request.click.x == POISON for request in server.received) == 2

    with FakeServer(breaks_on_poison, forgets=True) as server:
        asyncio.run(play(server))


def test_an_event_whose_replay_breaks_two_streams_is_dropped() -> None:
    armed: list[bool] = []

    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if armed and request.click.x in (POISON, 30):
            raise BrokenError

    with FakeServer(script, forgets=True) as server, Client(server.address) as client:
        session = client.open(image_file())
        session.click(5, 5)
        session.click(POISON, 5)
        armed.append(True)
        with pytest.raises(DroppedEventError, match=r"click \(13, 5\)"):
            session.click(30, 5)
        # Once when it was made, twice when it was replayed.
        assert sum(request.click.x == POISON for request in server.received) == 3
        session.click(20, 5)
        assert sum(request.click.x == POISON for request in server.received) == 3
        kept = [r.click.x for r in server.received if r.HasField("click")][-2:]
        assert kept == [5, 20]


def test_an_earlier_event_that_is_dropped_is_told_from_the_one_just_made() -> None:
    armed: list[bool] = []

    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if armed and request.click.x in (POISON, 30):
            raise BrokenError

    with FakeServer(script, forgets=True) as server, Client(server.address) as client:
        session = client.open(image_file())
        session.click(POISON, 5)
        armed.append(True)
        words = r"an earlier event, the positive click \(13, 5\).* make the new event again"
        with pytest.raises(DroppedEventError, match=words):
            session.click(30, 5)


def test_an_earlier_event_that_is_refused_is_told_from_the_one_just_made() -> None:
    armed: list[bool] = []

    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if armed and request.click.x == 30:
            armed.clear()
            armed.append(False)
            raise BrokenError
        if armed and request.click.x == POISON:
            reply.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            reply.error.message = "it does not like this one"
            reply.ClearField("result")

    with FakeServer(script, forgets=True) as server, Client(server.address) as client:
        session = client.open(image_file())
        session.click(POISON, 5)
        armed.append(True)
        words = r"an earlier event, the positive click \(13, 5\).*does not like.* new event again"
        with pytest.raises(EventError, match=words):
            session.click(30, 5)
        armed.clear()
        assert session.click(20, 5).sum() == 20 * HEIGHT


@pytest.mark.parametrize("applied", [False, True])
def test_an_event_that_breaks_two_streams_of_a_server_that_is_then_gone(applied: bool) -> None:
    """Whether it was applied is not known before the next call, which does not send it again."""
    gone = threading.Event()

    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.click.x == POISON:
            if server.count("click") == 3:
                gone.set()
                if applied:
                    server._applied[reply.session_id] = request.sequence
            raise BrokenError
        if gone.is_set() and request.HasField("open"):
            raise BrokenError

    with FakeServer(script) as server, Client(server.address, retry_seconds=0.5) as client:
        session = client.open(image_file())
        session.click(5, 5)
        words = r"the positive click \(13, 7\).* cannot be reached.*the next call"
        with pytest.raises(DroppedEventError, match=words) as raised:
            session.click(POISON, 7)
        assert "continues without it" not in str(raised.value)
        gone.clear()
        session.click(20, 5)
        made = [int(e.click.x) for e in session._conversation._events]
        assert made == ([5, POISON, 20] if applied else [5, 20])
        assert sum(request.click.x == POISON for request in server.received) == 2


def test_a_question_that_breaks_two_streams_is_no_event() -> None:
    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.HasField("show"):
            raise BrokenError

    with FakeServer(script) as server, Client(server.address) as client:
        session = client.open(image_file())
        session.click(5, 5)
        with pytest.raises(UnavailableError, match=r"the connection to .* broke"):
            session.objects()
        assert server.count("show") == 2
        assert session.click(20, 5).sum() == 20 * HEIGHT


def test_an_image_that_breaks_two_connections_is_not_sent_again() -> None:
    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        raise BrokenError

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(UnavailableError, match="broke"):
            client.open(image_file())
        assert server.count("open") == 2
        with pytest.raises(UnavailableError, match="broke"):
            client.segment(image_file(), [(POISON, 5)])
        assert server.segmented == 2


def test_a_real_server_that_an_event_kills(bundle: Path, free_address: str) -> None:
    prelude = f"""
import os
from clickcut.session import ClickSession
real = ClickSession.click
def click(self, x, y, positive=True):
    return os._exit({EXIT_CODE}) if x == {POISON} else real(self, x, y, positive)
ClickSession.click = click
"""
    wanted = ClickSession(prepare(image_file()), load_predictor(bundle, 1))
    wanted.click(80, 60)
    wanted.click(90, 60)
    servers = [ServerProcess(bundle, prelude=prelude, address=free_address)]
    patient = {"timeout": START_SECONDS, "retry_seconds": START_SECONDS}

    def keep_running() -> None:
        while servers[-1].process.wait() == EXIT_CODE:
            again = ServerProcess(bundle, wait=False, prelude=prelude, address=free_address)
            servers.append(again)

    keeper = threading.Thread(target=keep_running)
    keeper.start()
    try:
        with Client(free_address, **patient) as client:
            session = client.open(image_file())
            session.click(80, 60)
            with pytest.raises(DroppedEventError):
                session.click(POISON, 60)
            np.testing.assert_array_equal(session.click(90, 60), wanted.mask)
            assert session.num_clicks == 2
        wait_until(lambda: len(servers) == 3, "the server was started a third time")
    finally:
        servers[-1].process.kill()
        keeper.join()
        for server in servers:
            server.join()


# ---- replies that cannot be right


def lies(change: Callable[[pb.SessionReply], None]) -> Callable[..., None]:
    """A script that changes the replies to clicks."""

    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.HasField("click") and request.click.x == POISON:
            change(reply)

    return script


def _set_rectangle(reply: pb.SessionReply, x: int, y: int, width: int, height: int) -> None:
    reply.result.rectangle.CopyFrom(pb.Rectangle(x=x, y=y, width=width, height=height))


def _part(reply: pb.SessionReply, x: int, y: int, width: int, height: int) -> None:
    """A proper mask of a part of the image."""
    _set_rectangle(reply, x, y, width, height)
    counts = to_rle(np.ones((height, width), np.bool_))
    reply.result.rle.CopyFrom(pb.Rle(height=height, width=width, counts=counts))
    reply.result.area = height * width


LIES: dict[str, Callable[[pb.SessionReply], None]] = {
    "an answer to another request": lambda r: setattr(r, "sequence", 99),
    "an endless sequence": lambda r: setattr(r, "applied_sequence", 2**64 - 1),
    "a long session id": lambda r: setattr(r, "session_id", "x" * 10_000),
    "a rectangle outside": lambda r: _part(r, WIDTH - 5, 0, 10, 10),
    "a rectangle far outside": lambda r: _part(r, 2**32 - 1, 2**32 - 1, 1, 1),
    "a rectangle that is not the mask's": lambda r: _set_rectangle(r, 0, 0, 5, 5),
    "a rectangle to broadcast into": lambda r: (
        _part(r, 0, 0, 1, 1),
        _set_rectangle(r, 0, 0, 9, 9),
    ),
    "a huge mask": lambda r: (
        setattr(r.result.rle, "width", 2**32 - 1),
        setattr(r.result.rle, "height", 2**32 - 1),
        _set_rectangle(r, 0, 0, 2**32 - 1, 2**32 - 1),
    ),
    "no run lengths": lambda r: setattr(r.result.rle, "counts", b""),
    "garbage for run lengths": lambda r: setattr(r.result.rle, "counts", bytes(range(256))),
    "run lengths of another size": lambda r: setattr(
        r.result.rle, "counts", to_rle(np.ones((3, 3), np.bool_))
    ),
    "a mask of another kind": lambda r: setattr(r.result, "png", b"\x89PNG"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_reply_that_cannot_be_right_is_an_error(name: str) -> None:
    with FakeServer(lies(LIES[name])) as server, Client(server.address) as client:
        session = client.open(image_file())
        before = session.click(5, 5)
        with pytest.raises(ServerError, match="cannot be right"):
            session.click(POISON, 5)
        assert session.mask is before
        session.click(20, 5)  # the session goes on
        assert session.mask.sum() == 20 * HEIGHT


SIZES = [(0, 0), (0, 5), (2**32 - 1, 2**32 - 1), (2**31, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_an_image_of_an_impossible_size(size: tuple[int, int]) -> None:
    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        reply.image.width, reply.image.height = size
        reply.result.rle.width, reply.result.rle.height = size

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(ServerError, match="cannot be right"):
            client.open(image_file())
        with pytest.raises(ServerError, match="cannot be right"):
            client.segment(image_file(), [(5, 5)])


PROBABILITIES = {
    "too few values": pb.Probability(height=64, width=64, values=b"1234"),
    "no size": pb.Probability(height=0, width=0, values=b""),
    "a huge size": pb.Probability(height=2**32 - 1, width=2**32 - 1, values=b"1234"),
    "no region": pb.Probability(height=1, width=1, values=b"1234"),
    "a region outside": pb.Probability(
        height=1, width=1, values=b"1234", region=pb.Rectangle(x=WIDTH, width=1, height=1)
    ),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_a_probability_that_cannot_be_right(name: str) -> None:
    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.output.probability:
            reply.result.CopyFrom(pb.Result(probability=PROBABILITIES[name]))

    with FakeServer(script) as server, Client(server.address) as client:
        session = client.open(image_file())
        with pytest.raises(ServerError, match="cannot be right"):
            session.probability()
        assert session.click(5, 5).any()


@pytest.mark.parametrize("document", ["", "{", "[]", "[" * 100_000, "1" * 10_000, "null"])
def test_metadata_that_is_no_json_object(document: str) -> None:
    with FakeServer() as server, Client(server.address) as client:
        server.models = pb.ListModelsReply(models=[pb.Model(name="toy", metadata_json=document)])
        with pytest.raises(ServerError, match="metadata"):
            client.models()


def test_a_server_that_knows_no_session_at_all_ends_in_an_error() -> None:
    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.HasField("open") and opened:
            reply.error.code = grpc.StatusCode.NOT_FOUND.value[0]
        opened.append(True)

    opened: list[bool] = []
    with FakeServer(script) as server, Client(server.address, retry_seconds=0.5) as client:
        session = client.open(image_file())
        session._conversation.interrupted()
        with pytest.raises(SessionNotFoundError):
            session.click(5, 5)
        assert server.count("open") < 30


def test_control_characters_in_an_error_are_not_passed_on() -> None:
    def script(request: pb.SessionRequest, reply: pb.SessionReply) -> None:
        if request.HasField("click"):
            reply.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            reply.error.message = "\x1b]0;title\x07" + "long " * 10_000

    with FakeServer(script) as server, Client(server.address) as client:
        session = client.open(image_file())
        with pytest.raises(Exception, match="title") as raised:
            session.click(5, 5)
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 2000
