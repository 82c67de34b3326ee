"""Weights from the files that people have: the network computes what its origin did."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clickcut_train.checkpoint import Checkpoint, write_checkpoint
from clickcut_train.config import TrainConfig
from clickcut_train.errors import CheckpointError, WeightsError
from clickcut_train.models import ModelConfig, build
from clickcut_train.models.batchnorm import restore_batchnorm
from clickcut_train.models.vgg16 import VGG16
from clickcut_train.weights import load_initial
from clickcut_train.weights.caffe import net_parameter

VGG = ModelConfig(architecture="fcn8s", backbone="vgg16", width=1 / 64)
BILINEAR = {"mode": "bilinear", "align_corners": False}
CAFFE_MEAN_BGR = torch.tensor([103.939, 116.779, 123.68])
LAYERS = [f"conv{b}_{n}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, count + 1)]


@pytest.fixture
def origin():
    """A narrow VGG16 as its authors have it: three colours, no clicks, random biases as well."""
    network = VGG16(3, VGG.width)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (1, 3, 96, 96)).float()


def convolutions(network):
    return [m for m in network.features if isinstance(m, nn.Conv2d)]


def load(model, kind, path):
    network = build(model)
    return network, load_initial(network, model, kind, path)


def first_features(network, x):
    """The first convolution's output, without its border: (N, C, H - 2, W - 2)."""
    with torch.no_grad():
        return network.features[0](x)[..., 1:-1, 1:-1]


def test_torchvision_vgg16(tmp_path, origin, pixels):
    state = {n: v for n, v in origin.state_dict().items() if n.startswith("features")}
    wide = origin.fc7.out_channels
    state |= {
        "classifier.0.weight": origin.fc6.weight.reshape(wide, -1),
        "classifier.0.bias": origin.fc6.bias,
        "classifier.3.weight": origin.fc7.weight.reshape(wide, wide),
        "classifier.3.bias": origin.fc7.bias,
        "classifier.6.weight": torch.zeros(10, wide),
        "classifier.6.bias": torch.zeros(10),
    }
    torch.save(state, tmp_path / "vgg16.pth")
    network, report = load(VGG, "torchvision_vgg16", tmp_path / "vgg16.pth")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    assert_convolutions_agree(network, origin, pixels, x)
    assert_fully_connected_agree(network, origin)
    assert set(report.unused) == {"classifier.6.weight", "classifier.6.bias"}
    assert all(n.startswith("head.") for n in report.missing)


def assert_convolutions_agree(network, origin, pixels, x):
    full = torch.cat([pixels / 127.5 - 1, torch.rand(1, 3, *pixels.shape[2:])], 1)
    torch.testing.assert_close(
        first_features(network.backbone, full), first_features(origin, x), rtol=1e-4, atol=1e-3
    )
    for a, b in list(zip(convolutions(network.backbone), convolutions(origin), strict=True))[1:]:
        assert torch.equal(a.weight, b.weight)
        assert torch.equal(a.bias, b.bias)


def assert_fully_connected_agree(network, origin):
    for name in ("fc6", "fc7"):
        a, b = getattr(network.backbone, name), getattr(origin, name)
        assert torch.equal(a.weight, b.weight)
        assert torch.equal(a.bias, b.bias)


def in_caffe_colours(pixels):
    """B, G, R, less the mean."""
    return pixels.flip(1) - CAFFE_MEAN_BGR[:, None, None]


def caffe_origin(origin):
    """The origin's first convolution for small inputs works on large ones: scale it down."""
    with torch.no_grad():
        convolutions(origin)[0].weight.div_(64)
    return origin


@pytest.mark.parametrize("layout", ["new", "old names", "whole model"])
def test_keras_notop(tmp_path, origin, pixels, layout):
    caffe_origin(origin)
    names = [n.replace("conv", "block").replace("_", "_conv") for n in LAYERS]
    with h5py.File(tmp_path / "notop.h5", "w") as file:
        root = file.create_group("model_weights") if layout == "whole model" else file
        for name, layer in zip(names, convolutions(origin), strict=True):
            kernel = layer.weight.detach().permute(2, 3, 1, 0).numpy()
            if layout == "old names":
                root[f"{name}/{name}_W_1:0"], bias = kernel, f"{name}/{name}_b_1:0"
            else:
                root[f"{name}/{name}/kernel:0"], bias = kernel, f"{name}/{name}/bias:0"
            root[bias] = layer.bias.detach().numpy()
        root["predictions/kernel:0"] = np.zeros((4, 4), np.float32)
    network, report = load(VGG, "keras_vgg16", tmp_path / "notop.h5")
    assert_convolutions_agree(network, origin, pixels, in_caffe_colours(pixels))
    assert {"backbone.fc6.weight", "backbone.fc7.bias"} <= set(report.missing)
    assert [n.removeprefix("model_weights/") for n in report.unused] == ["predictions/kernel:0"]


def caffemodel(origin, old, connected):
    """Bytes of a .caffemodel with the origin's weights.

    Args:
        old: layers as V1LayerParameter, shapes as four numbers.
        connected: fc6 and fc7 as fully connected layers, as VGG's own file has them.
    """
    net = net_parameter()()
    layers = dict(zip(LAYERS, convolutions(origin), strict=True))
    layers |= {"fc6": origin.fc6, "fc7": origin.fc7, "score_fr": nn.Conv2d(4, 21, 1)}
    for name, layer in layers.items():
        entry = (net.layers if old else net.layer).add(name=name)
        weight = layer.weight.detach().numpy()
        if connected and name.startswith("fc"):
            weight = weight.reshape(1, 1, len(weight), -1)
        bias = layer.bias.detach().numpy()
        for values in (weight, bias.reshape(1, 1, 1, -1) if old else bias):
            blob = entry.blobs.add(data=values.ravel())
            if old:
                blob.num, blob.channels, blob.height, blob.width = values.shape
            else:
                blob.shape.dim.extend(values.shape)
    (net.layers if old else net.layer).add(name="relu1_1")
    return net.SerializeToString()


@pytest.mark.parametrize("old", [False, True], ids=["layer", "layers"])
@pytest.mark.parametrize("connected", [False, True], ids=["convolutional", "fully connected"])
def test_caffe(tmp_path, origin, pixels, old, connected):
    caffe_origin(origin)
    path = tmp_path / "fcn.caffemodel"
    path.write_bytes(caffemodel(origin, old, connected))
    network, report = load(VGG, "caffe_vgg16", path)
    assert_convolutions_agree(network, origin, pixels, in_caffe_colours(pixels))
    assert_fully_connected_agree(network, origin)
    assert report.unused == ("score_fr",)


def test_the_caffe_fields_have_their_wire_numbers(tmp_path):
    """A file put together by hand, byte by byte, as another program would write it."""

    def field(number, payload):
        return varint(number << 3 | 2) + varint(len(payload)) + payload

    def varint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    blob = field(5, np.float32([1, 2, 3]).tobytes()) + field(7, field(1, varint(3)))
    new = field(100, field(1, b"conv") + field(2, b"Convolution") + field(7, blob))
    legacy = b"\x08\x01\x10\x01\x18\x01\x20\x03" + field(5, np.float32([4, 5, 6]).tobytes())
    old = field(2, field(4, b"fc") + field(6, legacy))
    (tmp_path / "a.caffemodel").write_bytes(field(1, b"net") + old + new)
    from clickcut_train.weights.caffe import read_layers

    layers = read_layers(tmp_path / "a.caffemodel")
    assert layers["conv"][0].tolist() == [1, 2, 3]
    assert layers["fc"][0].shape == (1, 1, 1, 3)
    assert layers["fc"][0].flatten().tolist() == [4, 5, 6]


def mobilenet_state(model, prefix=""):
    backbone = build(model).backbone
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    state = {prefix + n: v.clone() for n, v in backbone.state_dict().items()}
    first = prefix + "features.0.0.weight"
    state[first] = torch.randn_like(state[first][:, :3])
    return state


MOBILE = ModelConfig(width=0.25, head_channels=8)


@pytest.mark.parametrize("expand", [False, True])
def test_mobilenet_v2(tmp_path, pixels, expand):
    model = MOBILE.model_copy(update={"expand_first": expand})
    state = mobilenet_state(model) | {"features.18.0.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "m.pth")
    network, report = load(model, "mobilenet_v2", tmp_path / "m.pth")
    assert report.unused == ("features.18.0.weight",)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    expected = F.batch_norm(
        F.conv2d(x, state["features.0.0.weight"], stride=2, padding=1),
        *(state[f"features.0.1.{n}"] for n in ("running_mean", "running_var", "weight", "bias")),
    )
    full = torch.cat([pixels / 127.5 - 1, torch.rand(1, 3, 96, 96)], 1)
    network.eval()
    with torch.no_grad():
        got = network.backbone.features[0][:2](full)
    torch.testing.assert_close(got[..., 1:, 1:], expected[..., 1:, 1:], rtol=1e-4, atol=1e-4)
    wrong = MOBILE.model_copy(update={"expand_first": not expand})
    with pytest.raises(WeightsError, match=f"expand_first = {str(expand).lower()}"):
        load(wrong, "mobilenet_v2", tmp_path / "m.pth")


def test_guidance_channels_start_at_zero_whatever_the_file(tmp_path):
    torch.save(mobilenet_state(MOBILE, "backbone."), tmp_path / "d.pth")
    network, _ = load(MOBILE, "deeplab_fused", tmp_path / "d.pth")
    assert (network.backbone.first.weight[:, 3:] == 0).all()
    assert (network.backbone.first.weight[:, :3] != 0).any()
    x = torch.randn(2, 6, 64, 64)
    other = x.clone()
    other[:, 3:] = 7
    with torch.no_grad():
        for a, b in zip(network.eval().backbone(x), network.backbone(other), strict=True):
            torch.testing.assert_close(a, b)


def test_the_real_files_load(shared_weights):
    fused = shared_weights / "deeplab_v3_mobilenet_v2_voc21_fused.pth"
    network, report = load(ModelConfig(), "deeplab_fused", fused)
    assert report.loaded == 306
    assert "logits.weight" in report.unused
    x = torch.rand(4, 6, 64, 64) * 2 - 1
    network.eval()
    with torch.no_grad():
        before = network.backbone(x)
        restore_batchnorm(network.backbone, x)
        network.eval()
        for a, b in zip(before, network.backbone(x), strict=True):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)
    imagenet = shared_weights / "mobilenet_v2_imagenet_features.pth"
    _, report = load(ModelConfig(expand_first=True), "mobilenet_v2", imagenet)
    assert all(n.startswith("features.18.") for n in report.unused)


def test_wrong_files_are_named_errors(tmp_path, origin):
    path = tmp_path / "other.pth"
    kinds = {"mobilenet_v2": MOBILE, "deeplab_fused": MOBILE} | dict.fromkeys(
        ("torchvision_vgg16", "keras_vgg16", "caffe_vgg16"), VGG
    )
    for kind, model in kinds.items():
        with pytest.raises(WeightsError, match=r"no such file|cannot be read|damaged"):
            load(model, kind, tmp_path / "none")
        for content in (b"", b"nonsense" * 50):
            path.write_bytes(content)
            with pytest.raises(WeightsError):
                load(model, kind, path)
    torch.save({"features.0.0.weight": torch.zeros(8, 3, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"of \d+ tensors are not in it: features\.0\.1\."):
        load(MOBILE, "mobilenet_v2", path)
    with pytest.raises(WeightsError, match="not VGG16"):
        load(VGG, "torchvision_vgg16", path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="flat dict"):
        load(MOBILE, "mobilenet_v2", path)
    with pytest.raises(WeightsError, match="another backbone"):
        load(VGG, "mobilenet_v2", path)


def test_a_wider_file_names_the_tensor(tmp_path):
    torch.save(mobilenet_state(MOBILE.model_copy(update={"width": 0.5})), tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"features\.0\.0\.weight.*model\.width"):
        load(MOBILE, "mobilenet_v2", tmp_path / "m.pth")


def written(tmp_path, model):
    network = build(model)
    for layer in network.head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight)
    state = network.state_dict()
    path = tmp_path / f"{model.architecture}.pt"
    write_checkpoint(path, Checkpoint(TrainConfig(model=model), 5, state, state))
    return network, path


@pytest.mark.parametrize(
    ("coarse", "fine"), [("fcn32s", "fcn16s"), ("fcn16s", "fcn8s"), ("fcn8s", "fcn4s")]
)
def test_a_stage_starts_as_the_function_of_the_stage_before(tmp_path, coarse, fine):
    model = MOBILE.model_copy(update={"architecture": coarse})
    before, path = written(tmp_path, model)
    finer = model.model_copy(update={"architecture": fine})
    network, report = load(finer, "checkpoint", path)
    assert {n.split(".")[1] for n in report.missing} == {"score", "up"}
    x = torch.randn(1, 6, 128, 128)
    before.head.stride = 1  # the score itself, not enlarged
    with torch.no_grad():
        score = F.interpolate(before.eval()(x), scale_factor=2.0, **BILINEAR)
        expected = F.interpolate(score, scale_factor=float(network.head.stride), **BILINEAR)
        torch.testing.assert_close(network.eval()(x), expected)
    new_score = network.head.score[-1]
    assert not new_score.weight.any()
    assert not new_score.bias.any()


def test_checkpoints_of_another_network_are_refused(tmp_path):
    _, path = written(tmp_path, MOBILE.model_copy(update={"architecture": "fcn8s"}))
    for changes, match in (
        ({"architecture": "fcn8s", "previous": False}, "previous"),
        ({"architecture": "fcn8s", "width": 0.5}, "width"),
        ({"architecture": "fcn16s"}, "not used"),
        ({}, "another architecture"),
    ):
        with pytest.raises(CheckpointError, match=match):
            load(MOBILE.model_copy(update=changes), "checkpoint", path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        load(MOBILE, "checkpoint", path)
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match="format 3"):
        load(MOBILE, "checkpoint", path)
    whole = {"format": 2, "seen": 1, "model": {}, "average": {}}
    torch.save(whole, path)
    with pytest.raises(CheckpointError, match=r"without \['config'\]"):
        load(MOBILE, "checkpoint", path)
    torch.save(whole | {"config": {"model": {"depth": 3}}}, path)
    with pytest.raises(CheckpointError, match=r"model\.depth(.|\n)*another version"):
        load(MOBILE, "checkpoint", path)
