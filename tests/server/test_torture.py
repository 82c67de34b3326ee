"""No acknowledged event is lost, whatever breaks; `make test-faults` does it at length."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from server.harness import ServerProcess
from server.torture import Plan, torture
from store.stores import RedisServer

pytestmark = pytest.mark.slow

FEW = Plan(clients=3, servers=2, cuts=12, kills=2, events=12, pause=0.5)
MANY = Plan(clients=20, servers=3, cuts=1000, kills=200, events=30, pause=0.4)


@pytest.fixture
def plan(full_faults: bool) -> Plan:
    return MANY if full_faults else FEW


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_cuts_and_kills_lose_nothing(
    bundle: Path, tmp_path: Path, server: ServerProcess, plan: Plan, kind: str
) -> None:
    if kind == "sqlite":
        counts = torture(bundle, tmp_path, f"sqlite:{tmp_path}/s.db", server, plan)
    else:
        with RedisServer(tmp_path) as redis:
            counts = torture(bundle, tmp_path, redis.url, server, plan)
    print(json.dumps(asdict(plan) | dict(counts)))
    assert counts["cut"] == plan.cuts
    assert counts["kill"] == plan.kills
    assert counts["sessions"] >= plan.clients
    assert counts["acknowledged"] > 3 * plan.clients
