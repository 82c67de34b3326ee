"""Stores that fail under a server: named errors, the state as before, nothing acknowledged lost."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from server.harness import (
    DEADLINE,
    RawStream,
    ServerProcess,
    gauge,
    image_file,
    wait_until,
)
from server.test_durable import EVENTS, OPEN, SHOW, numbered, resume, shown
from server.test_lifecycle import run_serve
from server.test_tokens import ALICE, BOB, line
from store.stores import RedisServer

from clickcut.client import Client
from clickcut.images import digest_of
from clickcut.v1 import clickcut_pb2 as pb

pytestmark = pytest.mark.slow

IMAGE = image_file()
RESOURCE_EXHAUSTED, UNAVAILABLE = 8, 14


def click(at: int) -> pb.SessionRequest:
    return pb.SessionRequest(sequence=at, click=pb.Click(x=10 + 7 * at, y=60, negative=at % 3 == 2))


def big_stroke(at: int) -> pb.SessionRequest:
    """An event of some 30 kB on the wire that changes little."""
    corners = [c for k in range(2000) for c in (20.0 + k % 3, 30.0 + at % 50)]
    return pb.SessionRequest(sequence=at, stroke=pb.Stroke(coordinates=corners))


@pytest.fixture
def plain(server: ServerProcess) -> Iterator[RawStream]:
    """A session on a server without a store, undisturbed."""
    with RawStream(server.address) as raw:
        raw.ask(OPEN)
        yield raw


# ---- a store whose answer is lost

FLAKY = """
import pathlib
from clickcut.errors import StoreUnavailableError
from clickcut.store.sqlite import SqliteStore
flag, real = pathlib.Path({flag!r}), SqliteStore.commit
def commit(self, writes):
    outcomes = real(self, writes)
    if flag.exists():
        flag.unlink()
        raise StoreUnavailableError("the line was cut after the write")
    return outcomes
SqliteStore.commit = commit
"""


def test_a_write_whose_outcome_is_not_known(bundle: Path, tmp_path: Path, plain: RawStream) -> None:
    flag = tmp_path / "flag"
    store = f"sqlite:{tmp_path}/s.db"
    with (
        ServerProcess(bundle, store=store, prelude=FLAKY.format(flag=str(flag))) as server,
        RawStream(server.address) as raw,
    ):
        raw.ask(OPEN)
        for at in (1, 2):
            raw.ask(click(at))
            plain.ask(click(at))
        before = shown(plain.ask(SHOW))
        flag.touch()
        refused = raw.ask(click(3))
        assert (refused.error.code, refused.error.retry) == (UNAVAILABLE, True)
        assert refused.applied_sequence == 2
        assert refused.num_clicks == 2
        plain.ask(click(3))
        assert raw.ask(click(3)).applied_sequence == 3  # the same again, which is not applied twice
        assert shown(raw.ask(SHOW)) == shown(plain.ask(SHOW)) != before
        flag.touch()
        assert raw.ask(click(4)).error.retry
        plain.ask(click(4))
        assert shown(raw.ask(SHOW)) == shown(plain.ask(SHOW))  # it was in the store
        for stream in (raw, plain):
            stream.ask(click(5))
        assert shown(raw.ask(SHOW)) == shown(plain.ask(SHOW))
        with (
            Client(server.address) as client,
            client.open(IMAGE) as session,
            client.open(IMAGE) as same,
        ):
            for x, y in ((80, 60), (20, 90), (140, 30)):
                flag.touch()  # its mask comes as changes, of which none may be missing
                mask = session.click(x, y)
                assert not flag.exists()
                np.testing.assert_array_equal(mask, same.click(x, y))
        flag.touch()
        raw.send(pb.SessionRequest(sequence=6, undo=pb.Undo()))
        session_id = raw.receive().session_id
        plain.ask(sequence=6, undo=pb.Undo())
        with resume(server, session_id) as again:
            assert shown(again.ask(SHOW)) == shown(plain.ask(SHOW))


# ---- no room


def test_a_full_redis_refuses_events_and_the_mask_stays_right(
    bundle: Path, tmp_path: Path, plain: RawStream
) -> None:
    with (
        RedisServer(tmp_path, "--maxmemory", "4mb") as redis,
        ServerProcess(bundle, store=redis.url) as server,
        Client(server.address, timeout=DEADLINE, retry_seconds=DEADLINE) as client,
        RawStream(server.address) as raw,
    ):
        session_id = raw.ask(OPEN).session_id
        for at in range(1, 1000):
            reply = raw.ask(big_stroke(at))
            if reply.HasField("error"):
                break
            plain.ask(big_stroke(at))
        assert reply.error.code == RESOURCE_EXHAUSTED
        assert reply.error.retry
        assert "maxmemory" in reply.error.message
        assert reply.applied_sequence == at - 1 > 10
        before = shown(plain.ask(SHOW))
        assert shown(raw.ask(SHOW)) == before
        with resume(server, session_id) as raw_again:
            assert shown(raw_again.ask(SHOW)) == before
            assert raw_again.ask(big_stroke(at)).error.retry
            redis.ask("CONFIG", "SET", "maxmemory", "64mb")
            raw_again.ask(big_stroke(at))
            plain.ask(big_stroke(at))
            assert shown(raw_again.ask(SHOW)) == shown(plain.ask(SHOW))
        # A client waits until there is room, and its mask, sent as changes, is right.
        session = client.open(IMAGE)
        session.click(80, 60)
        redis.ask("CONFIG", "SET", "maxmemory", "1mb")
        later = threading.Timer(1.0, redis.ask, ("CONFIG", "SET", "maxmemory", "64mb"))
        later.start()
        session.click(30, 40)
        mask = session.click(120, 30, positive=False)
        later.join()
        with Client(server.address) as other:
            same = other.open(IMAGE)
            for x, y, positive in ((80, 60, True), (30, 40, True), (120, 30, False)):
                same.click(x, y, positive)
            np.testing.assert_array_equal(mask, same.mask)


FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
"""


def test_a_full_disk(bundle: Path, tmp_path: Path, plain: RawStream) -> None:
    store = f"sqlite:{tmp_path}/s.db"
    with (
        ServerProcess(bundle, store=store, prelude=FULL_DISK) as server,
        RawStream(server.address) as raw,
    ):
        session_id = raw.ask(OPEN).session_id
        for at in range(1, 100):
            reply = raw.ask(big_stroke(at))
            if reply.HasField("error"):
                break
            plain.ask(big_stroke(at))
        assert reply.error.code in (RESOURCE_EXHAUSTED, UNAVAILABLE)
        assert f"{tmp_path}/s.db" in reply.error.message
        assert reply.applied_sequence == at - 1 > 2
        before = shown(plain.ask(SHOW))
        assert shown(raw.ask(SHOW)) == before
        large = image_file(640, 480)
        with RawStream(server.address) as other:
            other.send(pb.SessionRequest(open=pb.Open(image=large)))
            # The limit meets the image's file, or the database first: an I/O error for SQLite.
            full = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
            assert other.status().code() in full
        assert not any("Traceback" in line for line in server.errors), server.errors
        server.kill()
    with ServerProcess(bundle, store=store) as server, resume(server, session_id) as again:
        assert shown(again.ask(SHOW)) == before
        again.ask(big_stroke(at))
        plain.ask(big_stroke(at))
        assert shown(again.ask(SHOW)) == shown(plain.ask(SHOW))


# ---- Redis gone and back


def test_redis_gone_and_back(bundle: Path, tmp_path: Path, plain: RawStream) -> None:
    with (
        RedisServer(tmp_path) as redis,
        ServerProcess(bundle, store=redis.url) as server,
        Client(server.address, timeout=DEADLINE, retry_seconds=DEADLINE) as client,
        RawStream(server.address) as raw,
    ):
        raw.ask(OPEN)
        session = client.open(IMAGE)
        for at in (1, 2):
            raw.ask(click(at))
            plain.ask(click(at))
            session.click(10 + 7 * at, 60, at % 3 != 2)
        session_id = session.id
        redis.kill()
        refused = raw.ask(click(3))
        assert (refused.error.code, refused.error.retry) == (UNAVAILABLE, True)
        assert redis.url in refused.error.message
        assert (refused.applied_sequence, refused.num_clicks) == (2, 2)
        with RawStream(server.address) as other:
            other.send(OPEN)
            assert other.status().code() == grpc.StatusCode.UNAVAILABLE
        back = threading.Timer(1.0, redis.start)
        back.start()
        mask = session.click(31, 60)  # waits for it
        back.join()
        assert session.id == session_id
        for stream in (raw, plain):
            stream.ask(click(3))
        assert shown(raw.ask(SHOW)) == shown(plain.ask(SHOW))
        np.testing.assert_array_equal(mask, session.mask)
        server.terminate()
        assert server.join() == 0
        assert "Traceback" not in "\n".join(server.errors)


# ---- owners


def test_a_stored_session_belongs_to_its_token(bundle: Path, tmp_path: Path) -> None:
    settings = {
        "store": f"sqlite:{tmp_path}/s.db",
        "token_lines": f"{line('alice', ALICE)};{line('bob', BOB)}",
    }
    with (
        ServerProcess(bundle, **settings) as server,
        Client(server.address, token=ALICE) as alice,
    ):
        session = alice.open(IMAGE)
        session.click(80, 60)
        session_id = session.id
        server.kill()
    with ServerProcess(bundle, **settings) as server:
        for token, expected in (
            (BOB, grpc.StatusCode.NOT_FOUND),
            (ALICE, grpc.StatusCode.OK),
            (BOB, grpc.StatusCode.NOT_FOUND),
        ):
            for opening in (
                pb.Open(session_id=session_id),
                pb.Open(image_digest=digest_of(IMAGE)),
            ):
                assert outcome(server, token, opening) == expected


def outcome(server: ServerProcess, token: str, opening: pb.Open) -> grpc.StatusCode:
    request = pb.SessionRequest(open=opening).SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_stream("/clickcut.v1.Clickcut/Session")(
            iter([request]), metadata=(("authorization", f"Bearer {token}"),), timeout=DEADLINE
        )
        try:
            next(call)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


# ---- at the start


def other_version(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE clock (seconds REAL)")
        db.execute(f"PRAGMA application_id={0x636C6B63}")
        db.execute("PRAGMA user_version=7")
    return f"sqlite:{path}"


def not_ours(path: Path) -> str:
    path.write_bytes(b"dear diary")
    return f"sqlite:{path}"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_version, "has format 7"),
        (not_ours, "is not a store of clickcut"),
        (lambda path: f"sqlite:{path.parent}/nowhere/s.db", "nowhere"),
        (lambda _: "redis://127.0.0.1:1/0", "is Redis running there"),
        (lambda _: "disk:here", "--store: a store is memory, sqlite:PATH"),
    ],
    ids=["other version", "not ours", "no folder", "no redis", "unknown"],
)
def test_a_store_that_cannot_be_used(
    bundle: Path, tmp_path: Path, make: object, words: str
) -> None:
    store = make(tmp_path / "s.db")  # type: ignore[operator]
    ended = run_serve("--model", bundle, "--address", "127.0.0.1:0", "--store", store)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


def test_a_damaged_store_is_named_and_the_server_starts(
    bundle: Path, tmp_path: Path, free_address: str
) -> None:
    path = tmp_path / "s.db"
    with (
        ServerProcess(bundle, store=f"sqlite:{path}", address=free_address) as server,
        Client(free_address) as client,
    ):
        session = client.open(IMAGE)
        mask = session.click(80, 60)
        session_id = session.id
        server.kill()
        for name in ("s.db-wal", "s.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        data = path.read_bytes()
        path.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
        with ServerProcess(bundle, store=f"sqlite:{path}", address=free_address) as second:
            wait_until(
                lambda: any(str(path) in x and "moved to" in x for x in second.errors),
                "the log says it",
            )
            assert list(tmp_path.glob("s.db.damaged-*"))
            again = session.click(30, 40)  # the client has its events as well
            assert session.id != session_id
            assert again.shape == mask.shape


def test_events_that_were_tampered_with(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    outside = pb.SessionRequest(sequence=2, click=pb.Click(x=5000, y=1)).SerializeToString()
    show = pb.SessionRequest(show=pb.Show()).SerializeToString()
    changes = [
        *(
            ("UPDATE events SET event = ? WHERE position = 1", (x,))
            for x in (b"\xff", outside, show)
        ),
        ("UPDATE sessions SET start = ?", (b"\xff\xff",)),
        ("UPDATE sessions SET image = ?", ("../../../etc/passwd",)),
        ("DELETE FROM events WHERE position = 0", ()),
    ]
    flags = {"store": f"sqlite:{path}", "resume_seconds": 0.1, "metrics_port": 0}
    with ServerProcess(bundle, **flags) as server:  # type: ignore[arg-type]
        for statement, values in changes:
            with RawStream(server.address) as raw:
                session_id = raw.ask(OPEN).session_id
                for at in (1, 2):
                    raw.ask(click(at))
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                db.execute(statement, values)
            wait_until(lambda: gauge(server, "clickcut_sessions") == 0, "it is evicted")
            with RawStream(server.address) as raw:
                raw.send(pb.SessionRequest(open=pb.Open(session_id=session_id)))
                assert raw.status().code() == grpc.StatusCode.NOT_FOUND, statement
        assert not any("Traceback" in line for line in server.errors)
        wait_until(
            lambda: any("cannot be restored" in line for line in server.errors), "the log says it"
        )


def test_a_redis_without_persistence_is_warned_of(bundle: Path, tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path, "--appendonly", "no") as redis,
        ServerProcess(bundle, store=redis.url, wait=False) as server,
    ):
        wait_until(lambda: any("appendonly" in x for x in server.errors), "it warns")
        server.wait_for("store")
        assert server.line("store").endswith(f"Redis at {redis.url}")


def test_a_session_that_takes_too_much(bundle: Path, tmp_path: Path) -> None:
    with (
        ServerProcess(bundle, store=f"sqlite:{tmp_path}/s.db", store_session_mib=1) as server,
        RawStream(server.address) as raw,
    ):
        raw.ask(OPEN)
        for request in numbered([*EVENTS[:1], *(big_stroke(at) for at in range(60))]):
            reply = raw.ask(request)
            if reply.HasField("error"):
                break
        assert reply.error.code == RESOURCE_EXHAUSTED
        assert not reply.error.retry
        assert "--store-session-mib" in reply.error.message
        assert not raw.ask(SHOW).HasField("error")
