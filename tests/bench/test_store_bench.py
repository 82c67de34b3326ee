"""`clickcut bench store`: both of its parts, on a file and without a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from store.stores import RedisServer

from clickcut.commands.demo import running_server
from clickcut.errors import StoreError
from clickcut_bench.store import names_of, run


def test_stores_are_named_by_kind_and_number() -> None:
    urls = ["sqlite:/secret/path.db", "redis://:secret@host/0", "redis://:secret@host/1"]
    assert names_of(urls) == ["sqlite", "redis", "redis 2"]


@pytest.mark.slow
def test_both_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "store.json"
    run([f"sqlite:{tmp_path}/s.db"], 12, tmp_path, result)
    document = json.loads(result.read_text())
    assert set(document["stores"]["sqlite"]) == {
        *("commit of one event", "commit of 20 events", "load of 50 events", "image of 1 MiB")
    }
    assert set(document["clicks"]) == {"memory", "sqlite"}
    for row in (*document["stores"]["sqlite"].values(), *document["clicks"].values()):
        assert 0 < row["p50"] <= row["p95"] <= row["p99"]
    assert "a click through a server" in capsys.readouterr().out


@pytest.mark.slow
def test_a_server_is_not_taken_for_its_redis(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path) as redis,
        running_server("--store", redis.url, "--drain-seconds", "0") as address,
    ):
        assert address.startswith("127.0.0.1:")
        assert address != f"127.0.0.1:{redis.port}"


def test_memory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="other than memory"):
        run(["memory"], 10, tmp_path, None)
