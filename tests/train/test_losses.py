"""Losses against their definitions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from clickcut_train.config import LossConfig
from clickcut_train.learner import loss_of
from clickcut_train.losses import cross_entropy, near_outline, normalised_focal_loss


@pytest.fixture
def scene():
    logits, target = torch.randn(2, 8, 8), (torch.rand(2, 8, 8) > 0.5).float()
    return logits, target, (torch.rand(2, 8, 8) > 0.3).float()


@pytest.mark.parametrize("loss", [normalised_focal_loss, cross_entropy])
def test_pixels_of_no_weight_do_not_matter(scene, loss):
    logits, target, valid = scene
    changed = torch.where(valid > 0, logits, torch.randn(2, 8, 8) * 9)
    torch.testing.assert_close(loss(changed, target, valid), loss(logits, target, valid))
    assert loss(logits, target, torch.zeros_like(valid)) == 0


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.5), (1.0, 0.75)])
def test_the_focal_loss_equals_its_definition(gamma, alpha):
    rng = np.random.default_rng(0)
    z, t = rng.normal(size=(3, 5)), rng.random((3, 5)) > 0.5
    p = 1 / (1 + np.exp(-z))
    p_true = np.where(t, p, 1 - p)
    weight = (1 - p_true) ** gamma
    side = np.where(t, alpha, 1 - alpha)
    expected = 2 * (side * weight * -np.log(p_true)).sum() / weight.sum()
    target = torch.tensor(t, dtype=torch.float32)[None]
    got = normalised_focal_loss(torch.tensor(z)[None], target, torch.ones(1, 3, 5), gamma, alpha)
    assert got.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", [normalised_focal_loss, cross_entropy])
def test_a_soft_target_is_best_met_by_its_own_probability(loss):
    target, valid = torch.full((1, 4, 4), 0.7), torch.ones(1, 4, 4)
    logits = torch.zeros(1, 4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss(logits, target, valid).backward()
        optimizer.step()
    assert torch.sigmoid(logits).mean().item() == pytest.approx(0.7, abs=0.02)


def test_near_the_outline_means_within_reach_of_the_other_side():
    mask = np.zeros((40, 40), np.uint8)
    cv2.circle(mask, (20, 20), 11, 1, -1)
    square = np.ones((7, 7), np.uint8)
    expected = cv2.dilate(mask, square) - cv2.erode(mask, square)
    got = near_outline(torch.from_numpy(mask).float()[None], 3)[0].numpy()
    np.testing.assert_array_equal(got, expected)


def test_the_boundary_counts_more(scene):
    logits, target, valid = scene
    plain = LossConfig(kind="cross_entropy")
    heavy = LossConfig(kind="cross_entropy", boundary=3.0, boundary_reach=1)
    weight = valid * (1 + 3 * near_outline(target, 1))
    expected = cross_entropy(logits, target, weight)
    torch.testing.assert_close(loss_of(logits, target, valid, heavy), expected)
    assert loss_of(logits, target, valid, plain) == cross_entropy(logits, target, valid)
