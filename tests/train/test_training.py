"""Seconds-long runs that really learn, stop when they must and leave what they promise."""

from __future__ import annotations

import csv
import errno
import math
import threading
from datetime import datetime

import cv2
import numpy as np
import pytest
import torch
from fakes import picture
from train_cases import ALONE, PLAIN, config, data, photo
from typer.testing import CliRunner

from clickcut import whole_file
from clickcut_train import checkpoint as checkpoints
from clickcut_train import learner, precision
from clickcut_train import trainer as trainer_module
from clickcut_train.average import average
from clickcut_train.batch import network_input
from clickcut_train.checkpoint import load_model, read_checkpoint
from clickcut_train.cli import app
from clickcut_train.errors import CheckpointError, ConfigError, TrainingError
from clickcut_train.logbook import Logbook
from clickcut_train.sample_options import SampleOptions
from clickcut_train.samples import draw
from clickcut_train.trainer import Trainer


def learn(run, logbook=None):
    try:
        run.logbook = logbook
        assert run.train(threading.Event())
    finally:
        run.close()


def iou_of_one_click(path, photos=1):
    """Mean IoU of the checkpoint's network after the first click of fresh samples."""
    network, settings, _ = load_model(path)
    rng = np.random.default_rng(7)
    options = SampleOptions(first="mixed", pairs_per_object=0, flip=False)
    ious = []
    for i in range(12):
        sample = draw(photo(i % photos), settings.model.input_size, options, rng)
        sample.positive, sample.negative = sample.positive[:1], []
        with torch.no_grad():
            selected = network(network_input([sample], settings.model))[0, 0].numpy() > 0
        ious.append((selected & sample.target).sum() / (selected | sample.target).sum())
    return np.mean(ious)


ARCHITECTURES = {
    "topdown on mobilenet_v2": {},
    "fcn8s on mobilenet_v2": {"architecture": "fcn8s"},
    "fcn4s on mobilenet_v2": {"architecture": "fcn4s", "width": 0.5},
    "fcn8s on vgg16": {"architecture": "fcn8s", "backbone": "vgg16", "width": 0.125},
    "topdown on vgg16": {"backbone": "vgg16", "width": 0.125},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_learns_to_select_an_object_with_one_click(tmp_path, name):
    model = ARCHITECTURES[name]
    samples = 960 if name == "fcn8s on vgg16" else 640  # no BatchNorm, no features shown twice
    settings = config(
        model=model,
        optimizer={"lr": 1e-3} if "vgg16" in name else {},
        schedule={"samples": samples, "warmup": 32},
        samples=PLAIN,
        sessions={"next_click_probability": 0.3},
        loss={"kind": "cross_entropy"},
    )
    book = Logbook(tmp_path, samples, 0, tensorboard=False)
    learn(Trainer(settings, tmp_path, data(1), ALONE), book)
    with (tmp_path / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.3 * losses[0]
    assert iou_of_one_click(tmp_path / "last.pt") > 0.75


@pytest.mark.slow
def test_the_default_recipe_learns(tmp_path):
    settings = config(schedule={"samples": 480})
    learn(Trainer(settings, tmp_path, data(), ALONE))
    assert iou_of_one_click(tmp_path / "last.pt", photos=3) > 0.4


def test_a_run_ends_at_its_time_with_its_rate_decayed(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(learner.time, "time", lambda: now[0])
    until = datetime.fromtimestamp(1000.0 + 600)
    timed = {"samples": 10**6, "warmup": 0, "decay": 0.0, "until": until, "decay_minutes": 5}
    run = Trainer(config(schedule=timed), tmp_path, data(), ALONE)
    rates = []
    for seconds in (0, 299, 450, 599, 600):
        now[0] = 1000.0 + seconds
        assert not run.complete
        rates.append(run.learner.lr / run.config.optimizer.lr)
        run.step()
    assert rates == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-4)
    assert run.complete
    run.close()


def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path):
    run = Trainer(config(), tmp_path, data(), ALONE)
    with torch.no_grad():
        run.learner.network.head.score.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"optimizer\.lr=0\.001"):
        run.step()
    run.close()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_too_little_memory_stops_with_advice(tmp_path, monkeypatch, error):
    run = Trainer(config(), tmp_path, data(), ALONE)

    def fail(*_):
        raise error

    monkeypatch.setattr(run.learner, "step", fail)
    with pytest.raises(TrainingError, match=r"schedule\.batch=2 .*model\.input_size=32"):
        run.step()
    run.close()


def test_other_faults_keep_their_trace(tmp_path, monkeypatch):
    run = Trainer(config(), tmp_path, data(), ALONE)

    def fail(*_):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(run.learner, "step", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        run.step()
    run.close()


class FullDisk:
    """Opens files that take `room` bytes and then no more."""

    def __init__(self, path, room):
        self._file, self._room = path.open("w+b"), room

    def write(self, data):
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 100, 50_000])
def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_to_do(
    tmp_path, monkeypatch, capsys, room
):
    settings = config(schedule={"samples": 16}, output={"checkpoint_seconds": 1e-9})
    learn(Trainer(settings, tmp_path, data(), ALONE))
    before = (tmp_path / "last.pt").read_bytes()
    longer = config(schedule={"samples": 24}, output={"checkpoint_seconds": 1e-9})
    run = Trainer(longer, tmp_path, data(), ALONE)
    monkeypatch.setattr(whole_file, "_open", lambda path: FullDisk(path, room))
    with pytest.raises(TrainingError, match=r"No space left.*Make room"):
        learn(run, Logbook(tmp_path, 24, 16, tensorboard=False))
    assert run.complete  # it went on after the first failure
    assert "the run goes on" in capsys.readouterr().out
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_the_batch_must_divide_over_the_processes(tmp_path):
    world = type(ALONE)(0, 3, ALONE.device)
    with pytest.raises(ConfigError, match="multiple of the 3 processes"):
        Trainer(config(), tmp_path, data(), world)


def test_the_mean_of_checkpoints_is_a_checkpoint(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        learn(
            Trainer(config(schedule={"samples": 8, "seed": seed}), tmp_path / name, data(), ALONE)
        )
    paths = [tmp_path / name / "last.pt" for name in "ab"]
    soup = average(paths, [3, 1])
    a, b = (read_checkpoint(p).ema_state for p in paths)
    for name, value in soup.ema_state.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * a[name] + 0.25 * b[name])
    checkpoints.write_checkpoint(tmp_path / "soup.pt", soup)
    network, settings, seen = load_model(tmp_path / "soup.pt")
    assert (settings.model, seen) == (config().model, 8)
    assert network(torch.zeros(1, 6, 64, 64)).isfinite().all()
    parents = read_checkpoint(tmp_path / "soup.pt").provenance["average"]
    assert [p["share"] for p in parents] == [0.75, 0.25]
    assert parents[0]["sha256"] == checkpoints.file_sha256(paths[0])


def test_checkpoints_of_other_networks_are_not_averaged(tmp_path):
    for name in ("fcn8s", "fcn4s"):
        settings = config(model={"architecture": name}, schedule={"samples": 4})
        learn(Trainer(settings, tmp_path / name, data(), ALONE))
    with pytest.raises(CheckpointError, match="another network"):
        average([tmp_path / "fcn8s/last.pt", tmp_path / "fcn4s/last.pt"])
    with pytest.raises(CheckpointError, match="two checkpoints or more"):
        average([tmp_path / "fcn8s/last.pt"])


def test_a_teacher_becomes_part_of_the_target(tmp_path, monkeypatch):
    teaching = config(model={"encoding": "distance", "previous": False}, schedule={"samples": 8})
    learn(Trainer(teaching, tmp_path / "teacher", data(), ALONE))
    path = tmp_path / "teacher/last.pt"
    run = Trainer(
        config(loss={"teacher": str(path), "teacher_share": 0.25}), tmp_path, data(), ALONE
    )
    shown = {}
    step = run.learner.step
    monkeypatch.setattr(
        run.learner, "step", lambda x, t, v: shown.update(target=t.clone()) or step(x, t, v)
    )
    samples = []
    run.step(lambda s, _: samples.extend((x.target.copy(), x) for x in s))
    run.close()
    truth = torch.from_numpy(np.stack([t for t, _ in samples])).float()
    soft = (shown["target"] - 0.75 * truth) / 0.25
    assert soft.min() >= -1e-5
    assert soft.max() <= 1 + 1e-5
    assert 0.01 < soft.mean() < 0.99  # an answer of a network, not a mask
    assert run.provenance["teacher"]["sha256"] == checkpoints.file_sha256(path)


STAGES = """
[model]
architecture = "fcn32s"
width = 0.25
input_size = 64
previous = false
[[data.sources]]
kind = "folder"
path = "{data}"
[sessions]
pool = 4
next_click_probability = 0.0
[schedule]
samples = 8
batch = 4
[validation]
every = 8
objects = 2
[validation.source]
kind = "folder"
path = "{data}"
[output]
log_steps = 1
image_steps = 1
[machine]
threads = 1
[stages.fcn32s]
[stages.fcn16s]
model.architecture = "fcn16s"
"""


@pytest.mark.slow
def test_one_command_runs_all_stages_and_continues_them(tmp_path):
    pytest.importorskip("tensorboard")
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for seed in range(3):
        image = picture(seed=seed)
        cv2.imwrite(str(tmp_path / f"data/images/{seed}.png"), image[..., ::-1])
        mask = (image[..., 0] > 150).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / f"data/masks/{seed}.png"), mask)
    file, out = tmp_path / "run.toml", tmp_path / "out"
    file.write_text(STAGES.format(data=tmp_path / "data"))
    command = ["run", "--config", str(file), "--out", str(out)]

    def train(*more):
        return CliRunner().invoke(app, [*command, *more])

    early = train("--stage", "fcn16s")
    assert isinstance(early.exception, ConfigError)
    assert "run stage fcn32s first" in str(early.exception)
    result = train()
    assert result.exit_code == 0, result.output
    assert "3 photographs, 3 objects to learn from" in result.output
    assert 'model.architecture = "fcn16s"' in result.output
    assert "head.score.1.weight" in result.output  # the new skip
    assert "clicks per object, the best so far" in result.output
    for stage in ("fcn32s", "fcn16s"):
        assert read_checkpoint(out / stage / "best.pt").seen == 8
        assert list((out / stage / "tensorboard").glob("events*"))
    parent = read_checkpoint(out / "fcn16s/last.pt").provenance["initial"]
    assert parent["sha256"] == checkpoints.file_sha256(out / "fcn32s/best.pt")
    longer = train("--stage", "fcn16s", "--set", "schedule.samples=12")
    assert longer.exit_code == 0
    assert "resumed after 8 samples" in longer.output
    assert read_checkpoint(out / "fcn16s/last.pt").seen == 12


def test_a_best_checkpoint_that_failed_to_write_is_written_by_the_next_as_good(
    tmp_path, monkeypatch, capsys
):
    every = {"every": 8, "source": {"kind": "folder", "path": "unused"}}
    settings = config(schedule={"samples": 32}, validation=every)
    run = Trainer(settings, tmp_path, data(), ALONE)
    run.logbook = Logbook(tmp_path, 32, 0, tensorboard=False)
    clicks = iter([3.0, 4.0, 3.5, 5.0])
    monkeypatch.setattr(Trainer, "validate", lambda _: next(clicks))
    writes = []
    write = trainer_module.write_checkpoint

    def fail_first(path, checkpoint):
        writes.append((path.name, checkpoint.seen))
        if len(writes) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, checkpoint)

    monkeypatch.setattr(trainer_module, "write_checkpoint", fail_first)
    assert run.train(threading.Event())
    run.close()
    assert writes == [("best.pt", 8), ("best.pt", 16), ("best.pt", 24), ("last.pt", 32)]
    assert read_checkpoint(tmp_path / "best.pt").best == {"clicks": 3.5, "seen": 24}
    assert "best.pt could not be written" in capsys.readouterr().out


def test_precision_follows_the_processor_and_says_so(tmp_path, monkeypatch):
    for fast, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(precision, "has_fast_bf16", lambda fast=fast: fast)
        run = Trainer(config(machine={"precision": "auto"}), tmp_path / expected, data(), ALONE)
        used = []
        run.learner.network.register_forward_pre_hook(
            lambda *_, used=used: used.append(torch.is_autocast_enabled("cpu"))
        )
        run.step()
        run.close()
        assert used == [fast]
        assert any(n.startswith(f"precision: {expected}, ") for n in run.notes)
    monkeypatch.setattr(precision, "has_fast_bf16", lambda: False)
    forced = Trainer(config(machine={"precision": "bf16"}), tmp_path / "forced", data(), ALONE)
    forced.close()
    assert "precision: bf16, as configured" in forced.notes
