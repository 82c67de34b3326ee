"""Initial weights out of a shipped bundle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from train_cases import ALONE, config, data

from clickcut.backends.load import load_predictor
from clickcut.bundle import bundled_models
from clickcut_train.average import average
from clickcut_train.checkpoint import Checkpoint, load_state, write_checkpoint
from clickcut_train.config import InitialConfig
from clickcut_train.errors import CheckpointError, WeightsError
from clickcut_train.models import ModelConfig, build
from clickcut_train.models.batchnorm import restore_batchnorm
from clickcut_train.trainer import Trainer
from clickcut_train.weights import load_initial

DEFAULT = bundled_models()["default"]
BACKBONE = "efficientnet_lite0"


def inputs(count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (count, 6, size, size)).astype(np.float32)
    x[:, 3:5] = rng.random((count, 2, size, size)) < 0.01
    x[:, 5] = rng.random((count, size, size))
    return x


def test_the_network_says_what_the_shipped_bundle_says_before_and_after_restoring_batchnorm():
    torch.manual_seed(0)
    predictor = load_predictor(DEFAULT)
    model = ModelConfig(backbone=BACKBONE, input_size=predictor.metadata.input_size)
    network = build(model)
    load_initial(network, model, "bundle", DEFAULT)
    x = inputs(1, model.input_size)
    expected = predictor.predict(x)
    scale = max(1.0, float(np.abs(expected).max()))
    with torch.inference_mode():
        got = network.eval()(torch.from_numpy(x))[:, 0].numpy()
    assert np.abs(got - expected).max() < 1e-4 * scale
    restore_batchnorm(network, torch.from_numpy(inputs(4, 64)))
    with torch.inference_mode():
        got = network.eval()(torch.from_numpy(x))[:, 0].numpy()
    assert np.abs(got - expected).max() < 1e-4 * scale
    variances = [
        float(m.running_var.min())
        for m in network.modules()
        if isinstance(m, torch.nn.BatchNorm2d) and m.running_var is not None
    ]
    assert variances
    assert min(variances) > 0.9


def test_a_bundle_and_a_checkpoint_are_averaged_with_their_batchnorms_folded(tmp_path):
    torch.manual_seed(0)
    settings = config(model={"backbone": BACKBONE, "width": 1.0, "head_channels": 96})
    network = build(settings.model)
    load_initial(network, settings.model, "bundle", DEFAULT)
    restore_batchnorm(network, torch.from_numpy(inputs(2, 64)))
    with torch.no_grad():
        network.head.score.bias.add_(2.0)  # a difference that adds up
    state = network.state_dict()
    write_checkpoint(tmp_path / "new.pt", Checkpoint(settings, 100, state, state))
    mean = average([DEFAULT, tmp_path / "new.pt"], [1, 3])
    averaged = build(settings.model)
    load_state(averaged, mean.ema_state, "mean")
    predictor = load_predictor(DEFAULT)
    x = inputs(1, predictor.metadata.input_size)
    expected = predictor.predict(x) + 1.5
    with torch.inference_mode():
        got = averaged.eval()(torch.from_numpy(x))[:, 0].numpy()
    assert np.abs(got - expected).max() < 2e-3
    files = [(p["file"], p["share"]) for p in mean.provenance["average"]]
    assert files == [("default.onnx", 0.25), ("new.pt", 0.75)]
    with pytest.raises(CheckpointError, match="give a checkpoint"):
        average([DEFAULT, DEFAULT])


def test_what_a_bundle_says_of_its_use_is_kept_by_what_goes_on_from_it(tmp_path):
    options = {"model": {"input_size": 64}, "schedule": {"samples": 16, "batch": 8, "warmup": 0}}
    first = config(initial={"kind": "bundle", "path": "default"}, **options)
    first = first.model_copy(update={"model": ModelConfig(backbone=BACKBONE, input_size=64)})
    run = Trainer(first, tmp_path / "first", data(), ALONE)
    run.close()
    shipped = load_predictor(DEFAULT).metadata
    assert run.provenance["options"] == {
        "input_size": shipped.input_size,
        "region": shipped.region.model_dump(mode="json"),
        "cut": shipped.cut.model_dump(mode="json"),
    }
    state = run.learner.network.state_dict()
    parent = Checkpoint(first, 16, state, state, provenance=run.provenance)
    write_checkpoint(tmp_path / "first.pt", parent)
    initial = InitialConfig(kind="checkpoint", path=str(tmp_path / "first.pt"))
    second = Trainer(first.model_copy(update={"initial": initial}), tmp_path / "2", data(), ALONE)
    second.close()
    assert second.provenance["options"] == run.provenance["options"]
    mean = average([tmp_path / "first.pt", tmp_path / "first.pt"])
    assert mean.provenance["options"] == run.provenance["options"]


def test_a_bundle_of_another_network_is_refused_and_the_network_is_as_it_was(tmp_path):
    model = ModelConfig(backbone=BACKBONE, encoding="distance")
    network = build(model)
    before = {n: v.clone() for n, v in network.state_dict().items()}
    with pytest.raises(WeightsError, match="encoding = disc, not distance"):
        load_initial(network, model, "bundle", DEFAULT)
    narrow = ModelConfig(backbone=BACKBONE, head_channels=64)
    with pytest.raises(WeightsError, match=r"model\.head_channels"):
        load_initial(build(narrow), narrow, "bundle", DEFAULT)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(DEFAULT.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        load_initial(network, model, "bundle", broken)
    with pytest.raises(WeightsError, match="not a readable ONNX file"):
        load_initial(network, model, "bundle", tmp_path / "missing.onnx")
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
