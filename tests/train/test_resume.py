"""A run that was stopped goes on exactly; a killed one leaves a loadable file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from train_cases import ALONE, config, data

from clickcut_train.checkpoint import read_checkpoint
from clickcut_train.errors import CheckpointError, ConfigError
from clickcut_train.logbook import Logbook
from clickcut_train.precision import has_fast_bf16
from clickcut_train.trainer import Trainer

pytestmark = pytest.mark.slow


def run_steps(run, steps):
    for _ in range(steps):
        run.step()
    run.save()
    run.close()


def assert_same(a, b):
    """Equal bit for bit, through dicts and lists."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def stop_and_go_on(folder, changes, precision):
    """Train once in one go and once with a stop."""
    settings = config(**changes, machine={"precision": precision, "workers": 2})
    run_steps(Trainer(settings, folder / "whole", data(), ALONE), 9)
    run_steps(Trainer(settings, folder / "parts", data(), ALONE), 4)
    torch.manual_seed(99)
    again = Trainer(settings, folder / "parts", data(), ALONE)
    assert again.learner.seen == 16
    run_steps(again, 5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": {"backbone": "vgg16", "width": 0.03, "architecture": "fcn8s"}},  # has dropout
        {"optimizer": {"kind": "sgd"}, "samples": {"first": "paper", "pairs_per_object": 5}},
        {"sessions": {"refine_probability": 0.5}},
    ],
    ids=["adamw", "dropout", "sgd", "refine"],
)
def test_a_run_stopped_in_mid_epoch_ends_bit_for_bit_as_an_uninterrupted_one(
    tmp_path, changes, precision
):
    if precision == "bf16" and not has_fast_bf16():
        pytest.skip("a processor without bfloat16 arithmetic may not repeat it bit for bit")
    stop_and_go_on(tmp_path, changes, precision)
    whole, parts = (read_checkpoint(tmp_path / n / "last.pt") for n in ("whole", "parts"))
    assert whole.seen == parts.seen == 36
    for field in ("model_state", "ema_state", "optimizer_state", "lanes"):
        assert_same(getattr(whole, field), getattr(parts, field))


def test_a_resumed_run_cannot_have_other_samples_or_another_network(tmp_path):
    run_steps(Trainer(config(), tmp_path, data(), ALONE), 1)
    for changes in (
        {"schedule": {"seed": 1}},
        {"model": {"head_channels": 24}},
        {"samples": {"merge": 0.5}},
        {"sessions": {"pool": 16}},
    ):
        with pytest.raises(ConfigError, match=next(iter(changes))):
            Trainer(config(**changes), tmp_path, data(), ALONE)


def test_a_resumed_run_may_be_longer_and_says_so(tmp_path):
    run_steps(Trainer(config(), tmp_path, data(), ALONE), 1)
    longer = Trainer(config(schedule={"samples": 999}), tmp_path, data(), ALONE)
    longer.close()
    assert any("schedule.samples: 480 -> 999" in note for note in longer.notes)


def test_other_photographs_are_noticed(tmp_path):
    run_steps(Trainer(config(model={"input_size": 64}), tmp_path, data(), ALONE), 1)
    checkpoint = read_checkpoint(tmp_path / "last.pt")
    checkpoint.lanes["sessions"].pop(0)
    other = Trainer(config(), tmp_path / "other", data(), ALONE)
    with pytest.raises(CheckpointError, match="samplers do not fit"):
        other.lanes.restore(checkpoint.lanes["sessions"])
    other.close()


def test_lines_of_the_log_after_the_checkpoint_are_dropped(tmp_path):
    book = Logbook(tmp_path, 100, 0, tensorboard=False)
    for seen in (10, 20, 30):
        book.steps(seen, 0.5, 1e-3, 2.0)
    book.close()
    again = Logbook(tmp_path, 100, 20, tensorboard=False)
    again.steps(25, 0.4, 1e-3, 2.0)
    again.close()
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["seen", "10", "20", "25"]


@pytest.mark.parametrize("content", [b"what is this\n1,2\n", b"\xff\xfe\x00seen,loss\n", b""])
def test_a_file_that_is_no_log_is_set_aside_and_named(tmp_path, capsys, content):
    (tmp_path / "log.csv").write_bytes(content)
    book = Logbook(tmp_path, 100, 0, tensorboard=False)
    book.steps(10, 0.5, 1e-3, 2.0)
    book.close()
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["seen", "10"]
    assert (tmp_path / "log.csv.unreadable").read_bytes() == content
    assert "moved to log.csv.unreadable" in capsys.readouterr().out


def test_lines_of_an_earlier_version_keep_their_learning_rate(tmp_path):
    (tmp_path / "log.csv").write_text("seen,loss,rate\n8,0.5,0.001\nbroken\n")
    Logbook(tmp_path, 100, 8, tensorboard=False).close()
    header, line = (tmp_path / "log.csv").read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["lr"] == "0.001"


def test_a_stop_leaves_a_checkpoint_and_an_incomplete_run(tmp_path):
    stop = threading.Event()
    run = Trainer(config(), tmp_path, data(), ALONE)
    step = run.step

    def stop_after_three(watch=None):
        if run.learner.seen == 8:
            stop.set()
        return step(watch)

    run.step = stop_after_three
    assert not run.train(stop)
    run.close()
    assert read_checkpoint(tmp_path / "last.pt").seen == 12


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
import torch
torch.set_num_threads(1)
from train_cases import ALONE, config, data
from clickcut_train.signals import stop_on_signals
from clickcut_train.trainer import Trainer
settings = config(schedule={{"samples": 10**6}}, output={{"checkpoint_seconds": 1e-6}})
run = Trainer(settings, Path({folder!r}), data(), ALONE)
with stop_on_signals() as stop:
    print("ready", flush=True)  # from here on, SIGTERM is a request
    print(run.train(stop), flush=True)
run.close()
"""


def start(folder):
    here = Path(__file__).parent
    script = SCRIPT.format(tests=str(here.parent), here=str(here), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 400
    while not (folder / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def test_a_killed_run_leaves_a_loadable_file_and_sigterm_a_last_checkpoint(tmp_path):
    """The run does little but write checkpoints, so the kill falls into one."""
    process = start(tmp_path)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=400)
    seen = read_checkpoint(tmp_path / "last.pt").seen
    assert seen >= 4
    process = start(tmp_path)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=400)
    assert (process.returncode, out) == (0, "False\n")
    assert read_checkpoint(tmp_path / "last.pt").seen >= seen
    assert not list(tmp_path.glob("*.partial"))
