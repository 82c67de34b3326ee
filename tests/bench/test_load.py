"""`clickcut bench load`: its arithmetic, and a short run against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from server.harness import ServerProcess
from typer.testing import CliRunner

from clickcut.client import AsyncClient
from clickcut.errors import BusyError
from clickcut_bench.cli import app
from clickcut_bench.load import run as load_run
from clickcut_bench.load.annotator import Annotator, Event
from clickcut_bench.load.numbers import fairness, jain, summarise
from clickcut_bench.load.plan import Habits, Step, Visit, plan
from clickcut_bench.load.run import Load, run
from clickcut_bench.load.sequences import Sequence, photographs

BUSY = Habits(0.4, 0.5, undo_share=0.3, abandon_share=0.3)


def test_think_times_have_the_mean_that_was_asked_for() -> None:
    rng = np.random.default_rng(1)
    drawn = [Habits(think_seconds=4.0, think_spread=0.8).think(rng) for _ in range(20_000)]
    assert np.mean(drawn) == pytest.approx(4.0, rel=0.05)
    assert np.std(np.log(drawn)) == pytest.approx(0.8, rel=0.05)
    assert Habits(4.0, 0.0).think(rng) == 4.0


def test_the_plan_is_fixed_in_advance() -> None:
    plans = plan(50, 60.0, 10.0, Habits(), [6, 3], 7)
    assert plans == plan(50, 60.0, 10.0, Habits(), [6, 3], 7)
    assert plans != plan(50, 60.0, 10.0, Habits(), [6, 3], 8)
    arrivals = [visits[0].steps[0].at for visits in plans]
    assert arrivals == sorted(arrivals)
    assert 0 <= arrivals[0] < 5 < arrivals[-1] <= 10
    nonces = [visit.nonce for visits in plans for visit in visits]
    assert len(set(nonces)) == len(nonces)
    for visits in plans:
        times = [step.at for visit in visits for step in visit.steps]
        assert times == sorted(times)
        assert times[-1] < 60.0


def test_an_undone_click_is_made_again() -> None:
    plans = plan(20, 200.0, 1.0, Habits(1.0, 0.1, undo_share=1.0, abandon_share=0.0), [3], 0)
    visit = plans[0][0]
    assert [(step.kind, step.click) for step in visit.steps] == [
        ("first click", 0),
        *[("click", 1), ("undo", 1), ("click", 1)],
        *[("click", 2), ("undo", 2), ("click", 2)],
    ]
    assert not visit.abandoned


def test_annotators_abandon_as_many_sessions_as_asked() -> None:
    visits = [v for p in plan(50, 300.0, 1.0, Habits(1.0, abandon_share=0.25), [4], 0) for v in p]
    share = np.mean([visit.abandoned for visit in visits])
    assert share == pytest.approx(0.25, abs=0.04)
    assert {len(v.steps) for v in visits if v.abandoned} >= {1, 2, 3}


def event(annotator: int, intended: float, ms: float, **changes: object) -> Event:
    fields = {"kind": "click", "outcome": "accepted", "sent": intended} | changes
    return Event(annotator, intended=intended, done=intended + ms / 1e3, **fields)  # type: ignore[arg-type]


def test_latency_counts_from_the_intended_time() -> None:
    late = Event(0, "click", intended=10.0, sent=12.5, done=12.6, outcome="accepted")
    assert late.latency == pytest.approx(2600)


def test_numbers_of_a_run() -> None:
    events = [event(0, 20 + k, 10.0 * (k + 1)) for k in range(10)]
    events += [
        event(0, 5, 99_999),  # in the warm-up
        event(1, 30, 500, refusals=2),
        event(1, 31, 700, kind="first click"),
        event(1, 32, 0, outcome="failed", error="ServerError: x"),
        event(1, 33, 0, outcome="left out"),
        event(1, 34, 20, right=False, late=0.004),
    ]
    found = summarise(events, 10.0, 60.0)
    assert found["events"] == 15
    assert found["accepted"] == 13
    assert found["accepted per second"] == pytest.approx(13 / 50)
    assert (found["refused"], found["refusals"]) == (1, 2)
    assert (found["failed"], found["left out"], found["wrong masks"]) == (1, 1, 1)
    assert found["errors"] == {"ServerError: x": 1}
    clicks = [10.0 * (k + 1) for k in range(10)] + [500, 20]
    assert found["latency ms"]["click"]["p50"] == pytest.approx(np.percentile(clicks, 50))
    assert found["latency ms"]["click"]["p99"] == pytest.approx(np.percentile(clicks, 99))
    assert found["latency ms"]["first click"]["n"] == 1
    assert found["latency ms"]["undo"] == {"n": 0}
    assert found["generator late ms"]["max"] == pytest.approx(4)


def test_fairness() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    events = [event(who, k, ms) for who, ms in ((0, 10.0), (1, 30.0)) for k in range(3)]
    events += [event(2, 0, 1e6)]  # too few to have a median
    found = fairness(events)
    assert found["annotators"] == 2
    assert found["max_over_min"] == pytest.approx(3)
    assert found["jain"] == pytest.approx(40**2 / (2 * (100 + 900)))
    assert fairness([]) == {"annotators": 0}


def test_generated_objects_differ_and_can_be_clicked() -> None:
    shown = photographs("", (120, 90), 4)
    assert [p[0].shape for p in shown] == [(90, 120, 3)] * 4
    assert len({p[1].tobytes() for p in shown}) == 4
    assert all(p[1].any() for p in shown)


def test_a_refused_step_is_tried_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the patience of the client; then a step that stays refused, and what follows it."""
    mask = np.ones((2, 2), np.bool_)
    answers = iter([BusyError("busy"), BusyError("busy"), None])

    class Session:
        timings = {"total": 3.0}  # noqa: RUF012
        mask = np.ones((2, 2), np.bool_)

        async def click(self, x: float, y: float, positive: bool) -> None:
            error = next(answers, BusyError("still busy"))
            if error is not None:
                raise error

        async def close(self) -> None:
            closed.append(self)

    async def opened(_: object, data: bytes) -> Session:
        return Session()

    clock, real_sleep = [0.0], asyncio.sleep  # only what is slept counts, not a busy machine

    async def sleep(seconds: float) -> None:
        clock[0] += seconds
        await real_sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    fake = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr("clickcut.client.protocol.time", fake)
    closed: list[Session] = []
    monkeypatch.setattr(AsyncClient, "open", opened)
    events: list[Event] = []
    sequence = Sequence(b"", ((0, 0, True), (1, 1, False)), (mask, mask))
    steps = (Step(0.0, "first click", 0), Step(0.0, "click", 1), Step(0.0, "undo", 1))
    import time

    async def play() -> None:
        player = Annotator(3, "localhost:1", [sequence], 2.0, time.perf_counter(), events.append)
        await player.play([Visit(0, 0, steps, False)])
        assert player.ended == 3

    asyncio.run(play())
    first, second, third = events
    assert (first.outcome, first.refusals, first.right) == ("accepted", 2, True)
    assert first.latency > 50
    assert second.outcome == "failed"
    assert second.refusals >= 2
    assert "still busy" in second.error
    assert third.outcome == "left out"
    assert not closed  # the session of a failed step is left


def test_what_is_unanswered_at_the_end_counts_as_failed(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: object, data: bytes) -> None:
        await asyncio.sleep(1000)

    monkeypatch.setattr(AsyncClient, "open", never)
    monkeypatch.setattr(load_run, "END_SECONDS", 0.0)
    mask = np.ones((2, 2), np.bool_)
    sequence = Sequence(b"", ((0, 0, True),) * 3, (mask,) * 3)
    load = Load(seconds=0.5, warm_up=0.1, habits=Habits(0.1), patience=0.1)
    events, _ = load_run.play(load, 2, server.address, [sequence], "stuck")
    assert {e.annotator for e in events} == {0, 1}
    assert all(e.outcome == "failed" for e in events)
    assert sum(e.kind == "first click" for e in events) >= 2


def test_a_short_run(server: ServerProcess, tmp_path: Path) -> None:
    load = Load((3, 4), 3.0, 1.0, BUSY, clicks=3, images=2, size=(160, 120))
    numbers, picture = tmp_path / "load.json", tmp_path / "load.png"
    document = run(load, [("toy", server.address)], [], numbers, picture)
    assert json.loads(numbers.read_text())["runs"] == document["runs"]
    assert picture.stat().st_size > 10_000
    assert [row["annotators"] for row in document["runs"]] == [3, 4]
    for row in document["runs"]:
        assert row["accepted"] == row["events"] > 5
        assert row["failed"] == row["wrong masks"] == 0
        assert row["latency ms"]["click"]["n"] > 0
        assert row["memory_mib"] > 20
        assert row["cores"]["server"] > 0


def test_options_that_make_no_sense() -> None:
    runner = CliRunner()
    for words, text in (
        (["--warm-up", "60"], "--seconds"),
        (["--size", "500"], "WIDTHxHEIGHT"),
        (["--annotators", "many"], "whole numbers"),
        (["--server-options", "'"], "quotation"),
    ):
        result = runner.invoke(app, ["load", *words])
        assert result.exit_code == 2
        assert text in result.output.replace("\n", " ")
