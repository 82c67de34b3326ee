"""`clickcut bench scale`, without Ray: the plain server only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clickcut.client import Client
from clickcut.errors import BackendError
from clickcut_bench.load.sequences import Sequence, photographs, record
from clickcut_bench.scale import PLAIN, Plan, _alone, _crowd, _Seen, run

pytestmark = pytest.mark.slow


def test_a_plain_server_is_measured(tmp_path: Path) -> None:
    plan = Plan((), sessions=2, seconds=0.5, alone=12, rounds=2, size=(160, 120), images=2)
    document = run(plan, tmp_path / "scale.json")
    row = document["servers"][PLAIN]
    assert row["alone"]["n"] == 2 * 10  # the first click of each turn of six is not counted
    assert row["crowd"]["n"] >= 4
    # Of both rounds: in one of them the machine may stand still.
    assert len(row["clicks per second"]) == len(row["processor ms per click"]) == 2
    assert max(row["clicks per second"]) > 0
    assert max(row["processor ms per click"]) > 0
    assert row["alone"]["p50"] > row["way"]["p50"] >= 0
    assert json.loads((tmp_path / "scale.json").read_text()) == json.loads(json.dumps(document))


def test_a_wrong_mask_ends_it(bundle: Path) -> None:
    from server.harness import ServerProcess

    with ServerProcess(bundle) as server, Client(server.address) as client:
        found = record(client, photographs("", (160, 120), 1)[0], 3)
        assert found is not None
        wrong = Sequence(found.file, found.clicks, tuple(~mask for mask in found.masks))
        with pytest.raises(BackendError, match="another mask"):
            _alone(client, [wrong], 6, _Seen())
        with pytest.raises(BackendError, match="another mask"):
            _crowd(client, [wrong], Plan(sessions=2, seconds=60), _Seen())
