"""Runs: interrupted, resumed, extended, refused; processes and Ray give the same numbers."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from clickcut_eval import run as runs
from clickcut_eval.cli import app
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.errors import MethodError, RunError
from clickcut_eval.methods import MethodSpec, choose
from clickcut_eval.pools import on_processes
from clickcut_eval.protocol import Protocol
from clickcut_eval.store import Run


def growcut(**options):
    (spec,) = choose(["growcut"], None, {}, {}, {"growcut": options})
    return spec


def in_process(jobs, workers):
    from clickcut_eval.jobs import perform

    for job in jobs:
        yield job, perform(job)


@pytest.fixture
def perform(monkeypatch, grabcut_folder, tmp_path):
    """Call `run` without processes; returns the record and what was printed."""
    monkeypatch.setattr(runs, "on_processes", in_process)

    def call(out="out", specs=None, protocol=None, **more):
        text = io.StringIO()
        record = runs.run(
            [DataSpec("grabcut", str(grabcut_folder))],
            specs or [growcut()],
            tmp_path / out,
            protocol or Protocol(max_clicks=4),
            console=Console(file=text, width=100),
            **more,
        )
        return record, text.getvalue()

    return call


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_writes_all_that_others_need(perform, tmp_path):
    record, printed = perform(command="clickcut eval run ...")
    assert "skipped, no object pixels: grabcut c" in printed
    assert {k[2] for k, o in record.outcomes.items() if o} == {"a", "b"}
    objects, clicks = rows(tmp_path / "out/objects.csv"), rows(tmp_path / "out/clicks.csv")
    assert [r["object"] for r in objects] == ["a", "b"]
    of_a = [r for r in clicks if r["object"] == "a"]
    outcome = record.outcomes["grabcut", "growcut", "a"]
    assert [(int(r["x"]), int(r["y"]), r["positive"] == "1") for r in of_a] == outcome.clicks
    assert [float(r["iou"]) for r in of_a] == pytest.approx(outcome.ious, abs=1e-4)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["results"][0]["objects"] == 2
    assert summary["sessions"][0]["command"] == "clickcut eval run ..."
    assert summary["methods"]["growcut"]["parameters"]


def test_a_run_that_was_cut_off_goes_on(perform, tmp_path, monkeypatch):
    whole, _ = perform()
    journal = tmp_path / "out/journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    perform("cut off", limit=1)
    (tmp_path / "cut off/journal.jsonl").write_text(lines[0] + lines[1][:40])
    done = []
    monkeypatch.setattr(
        runs,
        "on_processes",
        lambda jobs, workers: in_process([done.append(j.target.name) or j for j in jobs], workers),
    )
    resumed, _ = perform("cut off")
    assert done == ["b", "c"]
    without_times = {k: o and (o.ious, o.clicks) for k, o in resumed.outcomes.items()}
    assert without_times == {k: o and (o.ious, o.clicks) for k, o in whole.outcomes.items()}
    assert len((tmp_path / "cut off/journal.jsonl").read_text().splitlines()) == 3


def test_interrupting_keeps_what_was_done(perform, tmp_path, monkeypatch):
    def interrupted(jobs, workers):
        yield next(in_process(jobs, workers))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "on_processes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            perform()
    assert [r["object"] for r in rows(tmp_path / "out/objects.csv")] == ["a"]
    record, _ = perform()
    assert len(record.outcomes) == 3


def test_other_configurations_are_not_mixed_in(perform, tmp_path, grabcut_folder):
    perform()
    with pytest.raises(RunError, match="choose another --out"):
        perform(protocol=Protocol(rule="xu2016", max_clicks=4))
    with pytest.raises(RunError, match="growcut is there already with another parameters"):
        perform(specs=[growcut(smoothing=0.5)])
    other = choose(["graph-cut"], None, {}, {})
    record, _ = perform(specs=other)
    assert set(record.configuration["methods"]) == {"growcut", "graph-cut"}
    (grabcut_folder / "images/a.png").rename(grabcut_folder / "images/d.png")
    (grabcut_folder / "masks/a.png").rename(grabcut_folder / "masks/d.png")
    with pytest.raises(RunError, match="grabcut is there already with another fingerprint"):
        perform()


def test_directories_that_are_no_runs(perform, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("")
    with pytest.raises(RunError, match="neither empty nor a run directory"):
        perform("mine")
    with pytest.raises(RunError, match="not a run directory"):
        Run(tmp_path / "nowhere")
    with pytest.raises(RunError, match="cannot be written"):
        Run(tmp_path / "mine/thesis.txt/run", Protocol())
    perform()
    (tmp_path / "out/run.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        perform()


def test_two_runs_do_not_write_into_one_directory(perform, tmp_path):
    perform()
    busy = Run(tmp_path / "out", Protocol(max_clicks=4))
    with pytest.raises(RunError, match="another run writes into it"):
        perform()
    busy.close()
    perform()


def test_a_damaged_line_is_named(perform, tmp_path):
    perform()
    with (tmp_path / "out/journal.jsonl").open("a") as journal:
        journal.write("{}\n")
    with pytest.raises(RunError, match="line 4: damaged"):
        Run(tmp_path / "out")


@pytest.mark.slow
def test_processes_give_the_same_numbers(perform, grabcut_folder):
    from clickcut_eval.datasets import open_dataset
    from clickcut_eval.jobs import Job

    record, _ = perform()
    _, targets = open_dataset(DataSpec("grabcut", str(grabcut_folder)))
    jobs = [Job(growcut(), "grabcut", t, Protocol(max_clicks=4)) for t in targets]
    outcomes = {job.target.name: outcome for job, outcome in on_processes(jobs, 2)}
    for name, outcome in outcomes.items():
        here = record.outcomes["grabcut", "growcut", name]
        assert (outcome and outcome.ious) == (here and here.ious)


_KILLED = """
import multiprocessing, time
from clickcut_eval import pools

if __name__ == "__main__":
    pools.perform = time.sleep
    work = pools.on_processes([0.0, 600.0, 600.0], 2)
    next(work)
    print(*(p.pid for p in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_a_run_that_is_killed_leaves_no_process_behind(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(_KILLED)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        workers = [int(pid) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(workers) == 2
    end = time.monotonic() + 120
    while any(lives(pid) for pid in workers):
        assert time.monotonic() < end, "workers outlive the run"
        time.sleep(0.05)


def test_methods_by_name(default_bundle, tmp_path):
    fcn, snapped = choose(["fcn", "fcn-cut"], None, {}, {})
    assert dict(fcn.options) == {"cut": False}
    assert snapped.file("bundle") == default_bundle
    stage, _ = choose(["fcn32s", "fcn32s-cut"], None, {"fcn32s": tmp_path / "x.onnx"}, {})
    assert stage.file("bundle") == tmp_path / "x.onnx"
    with pytest.raises(MethodError, match="unknown method 'magic'; there are graph-cut, "):
        choose(["magic"], None, {}, {})
    with pytest.raises(MethodError, match="give --encoder PATH and --decoder PATH"):
        choose(["sam"], None, {}, {})
    with pytest.raises(MethodError, match="parameters for growcut, which is not measured"):
        choose(["fcn"], None, {}, {}, {"growcut": {"smoothing": 1.0}})


def test_a_broken_bundle_is_refused_before_the_first_click(perform, tmp_path):
    from clickcut.errors import BundleError

    (tmp_path / "broken.onnx").write_bytes(b"no model")
    spec = MethodSpec("x", "x", "ours", (("bundle", str(tmp_path / "broken.onnx")),))
    with pytest.raises(BundleError, match="not a model that can be loaded"):
        perform(specs=[spec])


def test_wrong_parameters_are_refused(perform):
    with pytest.raises(MethodError, match="there are smoothing"):
        perform(specs=[growcut(speed=3)])


def test_the_command_line(tmp_path, grabcut_folder, monkeypatch):
    monkeypatch.setattr(runs, "on_processes", in_process)
    arguments = ["run", "--data", f"grabcut:{grabcut_folder}", "--methods", "growcut"]
    arguments += ["--out", str(tmp_path / "out"), "--max-clicks", "2", "--limit", "1"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "GrabCut, 3 objects" in result.output
    assert len(rows(tmp_path / "out/objects.csv")) == 1
    wrong = CliRunner().invoke(app, [*arguments, "--set", "growcut=3"])
    assert wrong.exit_code == 2
    assert "METHOD.NAME=VALUE" in wrong.output
    old = CliRunner().invoke(app, ["run", "DATA", "--set", "grabcut"])
    assert old.exit_code == 2
    assert "--data grabcut:DATA/grabcut" in old.output
    old = CliRunner().invoke(app, [*arguments, "--set", "berkeley"])
    assert old.exit_code == 2
    assert "--data KIND:FOLDER" in old.output
