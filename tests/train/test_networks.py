"""The networks: sizes, interfaces, and up-sampling as Long et al. have it."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from train_cases import ALONE, config, data

from clickcut_train.models import ModelConfig, build
from clickcut_train.models.batchnorm import ConvNorm
from clickcut_train.models.efficientnet_lite import SCALES
from clickcut_train.models.fcn import BilinearUp, FCNHead
from clickcut_train.models.network import BackboneName
from clickcut_train.trainer import Trainer

ARCHITECTURES = ("fcn32s", "fcn16s", "fcn8s", "fcn4s", "topdown")
WIDTHS = {"mobilenet_v2": 0.25, "vgg16": 1 / 32} | dict.fromkeys(SCALES, 0.25)


def narrow(architecture, backbone, **changes):
    config = ModelConfig(
        architecture=architecture,
        backbone=backbone,
        width=WIDTHS[backbone],
        head_channels=8,
        **changes,
    )
    network = build(config).eval()
    for layer in network.head.modules():  # scores start at zero: make them say something
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.2)
    return network


def test_every_backbone_is_tested():
    assert set(WIDTHS) == set(get_args(BackboneName))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("backbone", WIDTHS)
@pytest.mark.parametrize("previous", [False, True])
def test_any_size_gives_logits_of_that_size(architecture, backbone, previous):
    network = narrow(architecture, backbone, previous=previous)
    for height, width in ((64, 96), (33, 70), (1, 50)):
        x = torch.randn(2, 6 if previous else 5, height, width)
        with torch.no_grad():
            assert network(x).shape == (2, 1, height, width)


@pytest.mark.parametrize("backbone", WIDTHS)
def test_backbones_give_features_at_strides_4_to_32(backbone):
    network = narrow("fcn8s", backbone)
    with torch.no_grad():
        taps = network.backbone(torch.randn(1, 6, 64, 96))
    for stride, channels, tap in zip((4, 8, 16, 32), network.backbone.channels, taps, strict=True):
        assert tap.shape == (1, channels, 64 // stride, 96 // stride)


def test_full_sizes_are_those_of_the_literature():
    with torch.device("meta"):
        vgg, mobile = (
            build(ModelConfig(architecture="fcn8s", backbone=t)) for t in ("vgg16", "mobilenet_v2")
        )
    assert sum(p.numel() for p in vgg.parameters()) == pytest.approx(134.3e6, rel=1e-3)
    assert vgg.backbone.fc6.weight.shape == (4096, 512, 7, 7)
    assert vgg.backbone.channels == (128, 256, 512, 4096)
    assert mobile.backbone.channels == (24, 32, 96, 320)
    assert sum(p.numel() for p in mobile.parameters()) == pytest.approx(1.81e6, rel=1e-2)


def test_up_sampling_starts_as_bilinear_interpolation():
    x = torch.randn(2, 1, 5, 7)
    expected = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(BilinearUp()(x), expected)


def test_scores_are_fused_as_in_long_et_al():
    head = FCNHead((3, 4, 5, 6), 8)
    for layer in head.score:
        nn.init.normal_(layer.weight)
    taps = [torch.randn(1, c, 32 >> i, 32 >> i) for i, c in enumerate((3, 4, 5, 6))]

    def double(x):
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

    with torch.no_grad():
        score = double(head.score[0](taps[3])) + head.score[1](taps[2])
        score = double(score) + head.score[2](taps[1])
        expected = F.interpolate(score, scale_factor=8.0, mode="bilinear", align_corners=False)
        torch.testing.assert_close(head(taps, taps[0]), expected)


def test_a_finer_stage_shares_all_layers_of_the_coarser_one():
    names = [set(narrow(a, "mobilenet_v2").state_dict()) for a in ARCHITECTURES[:4]]
    for coarse, fine in itertools.pairwise(names):
        assert coarse < fine


@pytest.mark.parametrize("backbone", WIDTHS)
def test_guidance_channels_start_at_zero(backbone):
    first = narrow("fcn8s", backbone).backbone.first
    assert not first.weight[:, 3:].any()
    assert first.weight[:, :3].any()


def test_distance_maps_are_scaled_and_the_probability_is_not():
    config = ModelConfig(width=0.25, head_channels=8, encoding="distance")
    distance = build(config).eval()
    plain = build(config.model_copy(update={"encoding": "disc"})).eval()
    plain.load_state_dict(distance.state_dict())
    x = torch.rand(1, 6, 64, 64)
    scaled = x.clone()
    scaled[:, 3:5] *= 255
    with torch.no_grad():
        torch.testing.assert_close(distance(scaled), plain(x))


def test_a_frozen_batchnorm_is_folded_with_the_same_values_and_gradients():
    torch.manual_seed(0)
    block = ConvNorm(
        nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU6(), nn.Conv2d(5, 4, 1)
    )
    with torch.no_grad():
        block[1].running_mean.normal_()
        block[1].running_var.uniform_(0.5, 2)
        block[1].weight.uniform_(0.5, 2)
        block[1].bias.normal_()
    x = torch.randn(2, 3, 9, 9)
    found = {}
    for folds in (False, True):
        block.eval()
        block.folds = folds
        block.zero_grad()
        out = block(x)
        out.square().sum().backward()
        found[folds] = [out.detach(), *(p.grad.clone() for p in block.parameters())]
    for plain, folded in zip(found[False], found[True], strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)
    block.train()
    before = block[1].running_mean.clone()
    block(x)
    assert not torch.equal(before, block[1].running_mean)  # in training it keeps its statistics


def test_frozen_batchnorms_keep_their_statistics(tmp_path):
    for where, moving in (("none", ("head", "backbone")), ("backbone", ("head",)), ("all", ())):
        run = Trainer(
            config(optimizer={"frozen_batchnorm": where}), tmp_path / where, data(), ALONE
        )
        before = {n: v.clone() for n, v in run.learner.network.named_buffers() if "mean" in n}
        run.step()
        run.close()
        after = dict(run.learner.network.named_buffers())
        changed = {n.split(".")[0] for n, v in before.items() if not torch.equal(v, after[n])}
        assert changed == set(moving)
    assert config(optimizer={"frozen_batchnorm": True}).optimizer.frozen_batchnorm == "backbone"
