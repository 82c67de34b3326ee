"""Initial weights out of a shipped bundle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clickcut.backends.load import load_predictor
from clickcut.bundle import bundled_models
from clickcut_train.errors import WeightsError
from clickcut_train.models import ModelConfig, build
from clickcut_train.models.batchnorm import restore_batchnorm
from clickcut_train.weights import load_initial

DEFAULT = bundled_models()["default"]


def inputs(count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (count, 6, size, size)).astype(np.float32)
    x[:, 3:5] = rng.random((count, 2, size, size)) < 0.01
    x[:, 5] = rng.random((count, size, size))
    return x


def test_the_network_says_what_the_shipped_bundle_says_before_and_after_restoring_batchnorm():
    torch.manual_seed(0)
    model = ModelConfig(input_size=384)
    network = build(model)
    load_initial(network, model, "bundle", DEFAULT)
    x = inputs(1, 384)
    expected = load_predictor(DEFAULT).predict(x)
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


def test_a_bundle_of_another_network_is_refused_and_the_network_is_as_it_was(tmp_path):
    model = ModelConfig(encoding="distance")
    network = build(model)
    before = {n: v.clone() for n, v in network.state_dict().items()}
    with pytest.raises(WeightsError, match="encoding = disc, not distance"):
        load_initial(network, model, "bundle", DEFAULT)
    narrow = ModelConfig(head_channels=64)
    with pytest.raises(WeightsError, match=r"model\.head_channels"):
        load_initial(build(narrow), narrow, "bundle", DEFAULT)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(DEFAULT.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        load_initial(network, model, "bundle", broken)
    with pytest.raises(WeightsError, match="not a readable ONNX file"):
        load_initial(network, model, "bundle", tmp_path / "missing.onnx")
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
