"""Validation measures through the engine, and the best checkpoint is kept."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import nn
from train_cases import ALONE, config, data

from clickcut.backends import load_predictor
from clickcut.bundle import bundled_models
from clickcut_eval.accuracy import measure_all
from clickcut_train import validation
from clickcut_train.checkpoint import OPTIONS, read_checkpoint
from clickcut_train.config import ModelConfig
from clickcut_train.metadata import bundle_metadata
from clickcut_train.trainer import Trainer
from clickcut_train.validation import TorchPredictor, clicks_per_object, held_out
from clickcut_train.weights.bundle import bundle_options

EVERY = {"every": 16, "source": {"kind": "folder", "path": "not read here"}, "target": 0.8}


class ColourOracle(nn.Module):
    """Selects the ellipse of `fakes.picture`, which has more red than the box and the ground."""

    def forward(self, x):
        return 20 * (x[:, :1] - 0.2)


def test_held_out_objects_are_spread_over_the_source():
    source = data(5).train
    every = held_out(source, 100)
    assert [t.name for t in every] == [f"photo{p}#{i}" for p in range(5) for i in (0, 1)]
    some = held_out(source, 3)
    assert [t.name for t in some] == ["photo0#0", "photo2#0", "photo4#1"]
    photo = source.photo(2)
    np.testing.assert_array_equal(some[1].ground_truth().mask, photo.mask(0).astype(bool))
    np.testing.assert_array_equal(some[1].pixels(), photo.image())


def test_clicks_are_counted_through_the_engine():
    settings = config(validation=EVERY)
    objects = held_out(data(2).train, 4)
    outcomes = clicks_per_object(ColourOracle(), settings, objects, ALONE.device, {})
    assert [o.name for o in outcomes] == [o.name for o in objects]
    # Ellipse and box of each photograph: one click, and all clicks in vain.
    assert [o.clicks_to(0.8) for o in outcomes] == [1, 20, 1, 20]


class Sizes(ColourOracle):
    """Also notes the input's sides."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, x):
        self.seen.update(x.shape[2:])
        return super().forward(x)


def test_it_is_measured_as_it_would_be_exported(monkeypatch):
    """A model that goes on from a bundle is exported with that bundle's size, region and views."""
    network, objects, described = Sizes(), held_out(data(2).train, 1), []

    def measured(targets, predictor, *arguments, **options):
        described.append(predictor.metadata)
        return measure_all(targets, predictor, *arguments, **options)

    monkeypatch.setattr(validation, "measure_all", measured)
    options = bundle_options(bundled_models()["default"])
    clicks_per_object(network, config(validation=EVERY), objects, ALONE.device, {OPTIONS: options})
    metadata = load_predictor(bundled_models()["default"]).metadata
    assert network.seen == {metadata.input_size}
    assert described[0].region == metadata.region
    assert described[0].cut == metadata.cut
    alone = Sizes()
    clicks_per_object(alone, config(validation=EVERY), objects, ALONE.device, {})
    assert alone.seen == {config().model.input_size}
    assert not described[1].region.mirror


def test_a_network_behind_the_predictor_interface():
    metadata = bundle_metadata(ModelConfig(previous=False, encoding="distance"), zoom=False)
    assert metadata.channels == ("red", "green", "blue", "positive", "negative")
    assert (metadata.guidance.encoding, metadata.region.zoom) == ("distance", False)
    predictor = TorchPredictor(ColourOracle(), metadata, torch.device("cpu"))
    batch = np.random.default_rng(0).random((2, 5, 32, 32), np.float32)
    expected = 20 * (batch[:, 0] - np.float32(0.2))
    np.testing.assert_allclose(predictor.predict(batch), expected, rtol=1e-4, atol=1e-4)


def test_the_best_checkpoint_is_kept(tmp_path, monkeypatch):
    counts = iter([7.0, 5.0, 6.0])
    seen = []

    def clicks(self):
        seen.append(self.learner.seen)
        return next(counts)

    monkeypatch.setattr(Trainer, "validate", clicks)
    run = Trainer(config(schedule={"samples": 48}, validation=EVERY), tmp_path, data(), ALONE)
    assert run.train(threading.Event())
    run.close()
    assert seen == [16, 32, 48]
    best = read_checkpoint(tmp_path / "best.pt")
    assert (best.seen, best.best) == (32, {"clicks": 5.0, "seen": 32})
    assert read_checkpoint(tmp_path / "last.pt").best == {"clicks": 5.0, "seen": 32}
