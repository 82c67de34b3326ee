"""Stores that are damaged, locked, full, of another version or gone; and clocks that jump."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from server.harness import wait_until
from store.stores import LIMITS, RedisServer, digest_of, opening

from clickcut.errors import StoreError, StoreFullError, StoreUnavailableError
from clickcut.store import Append, Create, Limits, Store, check_url, open_store
from clickcut.store.sqlite import SqliteStore

QUICK = replace(LIMITS, timeout=0.2)


def opened(url: str, limits: Limits = LIMITS) -> Store:
    store = open_store(url, limits)
    assert store is not None
    return store


def with_a_session(store: Store) -> None:
    store.put_image("", digest_of(b"image"), b"image")
    assert store.commit([Create(opening("one")), Append("one", 1, 0, b"click")]) == [None, None]


def has_the_session(store: Store) -> bool:
    found = store.load("one", "")
    return found is not None and found.events == [b"click"]


def counts_no_session(store: Store) -> bool:
    """Whether the sessions of the empty owner leave its whole share to a further one."""
    store.put_image("", digest_of(b"image"), b"image")
    share = 512 + len(opening().start)
    return store.commit([Create(opening("probe"), share)]) == [None]


@contextmanager
def closed_store(path: Path) -> Iterator[Path]:
    """A SQLite store with a session, closed."""
    store = opened(f"sqlite:{path}")
    with_a_session(store)
    store.close()
    yield path


# ---- SQLite: what may be there at the start


def test_a_closed_store_is_as_it_was(tmp_path: Path) -> None:
    with closed_store(tmp_path / "s.db") as path:
        assert path.stat().st_mode & 0o077 == 0, "ids of sessions are secrets"
        with closing(opened(f"sqlite:{path}")) as store:
            assert has_the_session(store)
            assert store.get_image("", digest_of(b"image")) == b"image"


def test_another_version_is_left_alone(tmp_path: Path) -> None:
    with closed_store(tmp_path / "s.db") as path:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version=1")
        before = path.read_bytes()
        with pytest.raises(StoreError, match=rf"{path} has format 1.*another path"):
            opened(f"sqlite:{path}")
        assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"GIF89a and more", b"SQLite format 3\0" + bytes(200)])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=str(path)):
        opened(f"sqlite:{path}")
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE sessions (id TEXT)")
    with pytest.raises(StoreError, match="another program"):
        opened(f"sqlite:{path}")


@pytest.mark.parametrize("kind", ["garbage", "cut short", "a table is missing"])
def test_a_damaged_store_is_moved_aside(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closed_store(tmp_path / "s.db") as path:
        data = path.read_bytes()
        if kind == "garbage":
            path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))
        elif kind == "cut short":
            path.write_bytes(data[:6000])
        else:
            with closing(sqlite3.connect(path)) as db:
                db.execute("DROP TABLE clock")
        damaged = path.read_bytes()
        with caplog.at_level(logging.ERROR), closing(opened(f"sqlite:{path}")) as store:
            (aside,) = tmp_path.glob("s.db.damaged-????????-??????")
            assert aside.read_bytes() == damaged, "nothing of it is lost"
            assert str(path) in caplog.text
            assert str(aside) in caplog.text
            assert store.load("one", "") is None
            with_a_session(store)
        with closing(opened(f"sqlite:{path}")) as store:
            assert has_the_session(store)


def test_a_damaged_store_that_another_process_uses_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(opened(f"sqlite:{path}")) as store:
        with_a_session(store)
        with closing(sqlite3.connect(path)) as db:
            db.execute("DROP TABLE images")
        with pytest.raises(StoreError, match="another server uses it"):
            opened(f"sqlite:{path}")
        assert not list(tmp_path.glob("*damaged*"))
        assert has_the_session(store)


def test_a_store_locked_by_another_program(tmp_path: Path) -> None:
    with (
        closed_store(tmp_path / "s.db") as path,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        store = opened(f"sqlite:{path}", QUICK)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match=str(path)):
            store.commit([Append("one", 1, 1, b"more")])
        assert has_the_session(store), "who only reads does not wait"
        other.execute("ROLLBACK")
        assert store.commit([Append("one", 1, 1, b"more")]) == [None]
        store.close()
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("UPDATE clock SET seconds = seconds")
        with pytest.raises(StoreError, match=rf"{path} is locked"):
            opened(f"sqlite:{path}", QUICK)


@pytest.mark.parametrize("where", ["no/folder/s.db", "."])
def test_a_path_that_cannot_be(tmp_path: Path, where: str) -> None:
    with pytest.raises(StoreError, match=str(tmp_path)):
        opened(f"sqlite:{tmp_path / where}")


def test_what_a_killed_creator_left_is_used(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.touch()
    with closing(opened(f"sqlite:{path}")) as store:
        with_a_session(store)
    with closing(sqlite3.connect(tmp_path / "t.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
    with closing(opened(f"sqlite:{tmp_path / 't.db'}")) as store:
        with_a_session(store)


# ---- SQLite: full, killed


def test_a_full_file_keeps_what_it_has(tmp_path: Path) -> None:
    limits = replace(LIMITS, max_bytes=2**18, max_session_bytes=2**20)
    with closing(opened(f"sqlite:{tmp_path}/s.db", limits)) as store:
        with_a_session(store)
        kept = 1
        error = None
        while error is None and kept < 100:
            try:
                store.commit([Append("one", 1, kept, bytes(8192))])
                kept += 1
            except StoreFullError as full:
                error = full
        assert "s.db is full" in str(error)
        assert "--store-mib" in str(error)
        found = store.load("one", "", take=True)
        assert found is not None
        assert found.position == kept > 5
        store.commit([Append("one", 2, kept, b"small")])


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from store.stores import LIMITS, digest_of, opening
from clickcut.errors import StoreFullError, StoreUnavailableError
from clickcut.store import Append, Create, open_store
store = open_store("sqlite:{path}", LIMITS)
store.put_image("", digest_of(b"image"), b"image")
store.commit([Create(opening("one"))])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
kept = 0
try:
    while kept < 1000:
        outcome = store.commit([Append("one", 1, kept, bytes(1000))])
        assert outcome == [None], outcome
        kept += 1
except (StoreFullError, StoreUnavailableError) as error:
    print(kept, type(error).__name__, error)
try:
    store.put_image("", digest_of(bytes(300_000)), bytes(300_000))
except StoreFullError as error:
    print("image", error)
import os
os._exit(0)
"""


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for it: writes fail in the middle of the log of the database."""
    path = tmp_path / "s.db"
    code = LIMITED.format(tests=str(Path(__file__).parents[1]), path=path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False
    )
    first, second = done.stdout.splitlines()
    kept = int(first.split()[0])
    assert str(path) in first
    assert kept > 2
    assert second.startswith("image no room to store an image in")
    with closing(opened(f"sqlite:{path}")) as store:
        found = store.load("one", "")
        assert found is not None
        assert found.events == [bytes(1000)] * kept, "all that was acknowledged, nothing else"


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from store.stores import LIMITS, digest_of, opening
from clickcut.store import Append, Create, open_store
store = open_store({url!r}, LIMITS)
store.put_image("", digest_of(b"image"), b"image")
store.commit([Create(opening("one"))])
at = 0
while True:
    store.commit([Append("one", 1, at, b"%d" % at)])
    at += 1
    sys.stdout.write(f"{{at}}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_writer_killed_at_any_moment_loses_nothing(tmp_path: Path, kind: str) -> None:
    with RedisServer(tmp_path) if kind == "redis" else nullcontext() as redis:
        kill_a_writer(redis, redis.url if redis else f"sqlite:{tmp_path}/s.db")


def kill_a_writer(redis: RedisServer | None, url: str) -> None:
    code = KILLED.format(tests=str(Path(__file__).parents[1]), url=url)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        while int(line := writer.stdout.readline()) < 50:
            pass
        time.sleep(0.03)
        writer.kill()
        acknowledged = int((line + writer.stdout.read()).split(b"\n")[-2])
    if redis:
        redis.kill()  # as well: it keeps an append-only file
        redis.start()
    with closing(opened(url)) as store:
        found = store.load("one", "")
        assert found is not None
        assert acknowledged <= found.position <= acknowledged + 1
        assert found.events == [b"%d" % at for at in range(found.position)]


def test_a_damaged_image_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(opened(f"sqlite:{tmp_path}/s.db")) as store:
        store.put_image("", digest_of(b"image"), b"image")
        (file,) = (p for p in (tmp_path / "s.db.images").rglob("*") if p.is_file())
        file.write_bytes(b"imagE")
        assert store.get_image("", digest_of(b"image")) is None
        assert str(file) in caplog.text
        store.put_image("", digest_of(b"image"), b"image")
        assert store.get_image("", digest_of(b"image")) == b"image"


# ---- SQLite: the clock


class Clock:
    def __init__(self) -> None:
        self.seconds = 1e6

    def __call__(self) -> float:
        return self.seconds


def test_sessions_expire_by_time_in_use_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, clock = replace(LIMITS, seconds=100.0), Clock()
    path = tmp_path / "s.db"
    store = SqliteStore(path, limits, clock)
    with_a_session(store)
    for jump in (1e9, -1e9):  # of the machine's clock
        now = time.time()
        monkeypatch.setattr(time, "time", lambda now=now, jump=jump: now + jump)
        assert store.prune() == 0
    clock.seconds += 60
    store.prune()
    store.close()
    clock.seconds = 5.0  # the machine was started again, or was down for a year
    store = SqliteStore(path, limits, clock)
    assert store.prune() == 0
    clock.seconds += 30
    other = SqliteStore(path, limits, clock)  # two processes count the same time once
    clock.seconds += 8
    assert store.prune() + other.prune() == 0
    assert has_the_session(store)
    clock.seconds += 8
    assert other.prune() == 1
    assert store.load("one", "") is None
    assert not store.touch_image("", digest_of(b"image"))
    assert not [p for p in path.with_name("s.db.images").rglob("*") if p.is_file()]
    assert counts_no_session(store)
    store.close()
    other.close()


# ---- Redis


def test_a_full_redis(tmp_path: Path) -> None:
    limits = replace(LIMITS, max_session_bytes=2**30)
    with (
        RedisServer(tmp_path, "--maxmemory", "4mb") as redis,
        closing(opened(redis.url, limits)) as store,
    ):
        with_a_session(store)
        kept, error = 1, None
        while error is None and kept < 1000:
            (error,) = store.commit([Append("one", 1, kept, os.urandom(16384))])
            kept += error is None
        assert type(error) is StoreFullError
        assert "maxmemory" in str(error)
        with pytest.raises(StoreFullError):
            store.put_image("", digest_of(bytes(10**6)), bytes(10**6))
        found = store.load("one", "", take=True)  # who resumes it then can read it
        assert found is not None
        assert (found.position, found.epoch) == (kept, 2)
        assert type(store.commit([Append("one", 2, kept, b"x" * 9000)])[0]) is StoreFullError
        assert store.load("one", "").position == kept  # type: ignore[union-attr]


def test_redis_gone_and_back(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis, closing(opened(redis.url)) as store:
        with_a_session(store)
        redis.kill()
        for work in (
            lambda: store.commit([Append("one", 1, 1, b"more")]),
            lambda: store.load("one", ""),
            lambda: store.get_image("", digest_of(b"image")),
            store.prune,
        ):
            with pytest.raises(StoreUnavailableError, match=redis.url):
                work()
        redis.start()
        assert has_the_session(store)
        assert store.commit([Append("one", 1, 1, b"more")]) == [None]


def test_no_redis_at_the_start_and_passwords_are_not_shown(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--requirepass", "secret") as redis:
        url = redis.url.replace("//", "//:{}@")
        with closing(opened(url.format("secret"))) as store:
            with_a_session(store)
            assert "secret" not in store.describe()
        for wrong in (url.format("wrong"), redis.url):
            with pytest.raises(StoreError, match="password") as refused:
                opened(wrong)
            assert "wrong" not in str(refused.value)
    with pytest.raises(StoreError, match="is Redis running there"):
        opened(url.format("secret"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--appendonly", "no"), "appendonly yes"),
        (("--maxmemory", "99mb", "--maxmemory-policy", "allkeys-lru"), "set noeviction"),
        (("--maxmemory", "60mb"), "60 MiB) before a limit"),
        (("--maxmemory", "99mb"), ""),
    ],
)
def test_a_redis_that_may_lose_sessions(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    with RedisServer(tmp_path, *options) as redis, closing(opened(redis.url)) as store:
        warnings = store.warnings()
        assert len(warnings) == bool(words)
        assert words in "".join(warnings)


def test_redis_expires_sessions_and_their_images(tmp_path: Path) -> None:
    brief = replace(LIMITS, seconds=0.3)
    with (
        RedisServer(tmp_path) as redis,
        closing(opened(redis.url)) as lasting,
        closing(opened(redis.url, brief)) as store,
    ):
        with_a_session(lasting)
        assert has_the_session(lasting)
        assert store.commit([Append("one", 1, 1, b"its time runs from now on")]) == [None]
        wait_until(lambda: store.load("one", "") is None, "the session expires")
        time.sleep(2.0)  # the last use of an image is known to the second
        store.prune()
        assert not store.touch_image("", digest_of(b"image"))
        assert counts_no_session(store)


# ---- names


@pytest.mark.parametrize(
    "url",
    ["", "sqlite", "sqlite:", "disk", "redis:host", "redis://", "redis://h:0/0", "redis://h:x/0"],
)
def test_a_store_that_cannot_be(url: str) -> None:
    with pytest.raises(ValueError, match=r"memory, sqlite:PATH|Port"):
        check_url(url)


def test_secrets_of_a_bad_url_are_not_shown() -> None:
    with pytest.raises(ValueError, match=r"\*\*\*") as refused:
        check_url("redis://user:secret@host:99999/0")
    assert "secret" not in str(refused.value)


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(StoreError, match=r"clickcut\[redis\]"):
        open_store("redis://127.0.0.1:1/0", LIMITS)


def test_the_engine_imports_redis_only_if_asked() -> None:
    code = "import sys, clickcut.server.process; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
