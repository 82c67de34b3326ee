"""No acknowledged event is lost, whatever breaks; `make test-faults` does it at length."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from server.fault_run import FaultRun
from server.harness import ServerProcess
from server.torture import Plan, torture
from store.stores import RedisServer

pytestmark = pytest.mark.slow

FEW = Plan(clients=3, servers=2, cuts=12, kills=2, events=12, pause=0.5, seed=1)
MANY = Plan(clients=20, servers=3, cuts=1000, kills=200, events=30, pause=0.4, seed=1)


@pytest.fixture
def plan(fault_run: FaultRun) -> Plan:
    if not fault_run.is_full:
        return FEW
    parts = fault_run.parts
    return replace(
        MANY, cuts=-(-MANY.cuts // parts), kills=-(-MANY.kills // parts), seed=fault_run.seed
    )


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_cuts_and_kills_lose_nothing(
    bundle: Path, tmp_path: Path, server: ServerProcess, plan: Plan, kind: str
) -> None:
    began = time.monotonic()
    if kind == "sqlite":
        counts = torture(bundle, tmp_path, f"sqlite:{tmp_path}/s.db", server, plan)
    else:
        with RedisServer(tmp_path) as redis:
            counts = torture(bundle, tmp_path, redis.url, server, plan)
    taken = {"store": kind, "seconds": round(time.monotonic() - began)}
    print(json.dumps(taken | asdict(plan) | dict(counts)))
    assert counts["cut"] == plan.cuts
    assert counts["kill"] == plan.kills
    assert counts["sessions"] >= plan.clients
    assert counts["acknowledged"] > 3 * plan.clients
