"""Losses on logits, with pixels to ignore."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def normalised_focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float = 2.0, alpha: float = 0.5
) -> Tensor:
    """Focal loss whose weights are rescaled per image to sum to the number of pixels.

    Easy pixels lose their weight without the gradient fading as the model improves
    (Sofiiuk et al., "AdaptIS", 2019).

    Args:
        logits: (N, H, W) float.
        target: (N, H, W) float in [0, 1], 1 = object; in between for soft targets.
        weight: (N, H, W) float, 0 = ignore.
        gamma: focusing exponent.
        alpha: weight of object against background.

    Returns:
        Mean loss, a scalar.
    """
    logits = logits.float()
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (target - torch.sigmoid(logits)).abs().pow(gamma)
    with torch.no_grad():
        total = (focal * weight).sum((1, 2))
        scale = (weight.sum((1, 2)) / total.clamp_min(1e-6)).clamp_max(1e3)
    side = torch.where(target > 0.5, alpha, 1 - alpha)
    per_image = (side * focal * bce * weight).sum((1, 2)) * scale / weight.sum((1, 2)).clamp_min(1)
    return 2 * per_image.mean()


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the binary cross-entropy; arguments as the focal loss."""
    bce = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return ((bce * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)).mean()


def near_outline(target: Tensor, reach: int = 3) -> Tensor:
    """1 within `reach` pixels of the object's outline, else 0: (N, H, W) float -> (N, H, W)."""
    padded = F.pad(target[:, None], [reach] * 4, mode="replicate")
    grown = F.max_pool2d(padded, 2 * reach + 1, 1)
    shrunk = -F.max_pool2d(-padded, 2 * reach + 1, 1)
    return (grown - shrunk)[:, 0]
