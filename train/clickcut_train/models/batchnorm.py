"""BatchNorm layers that were folded into convolutions get their statistics back."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def restore_batchnorm(trunk: nn.Module, batch: Tensor) -> None:
    """Give folded BatchNorm layers their statistics back, leaving the function as it was.

    Each convolution is scaled so that its output has unit variance on `batch`, and the BatchNorm
    that follows gets the scale and the mean, which is what training needs to be well conditioned.
    Weights of folded channels otherwise differ by a factor of a thousand.

    Args:
        trunk: a trunk whose BatchNorms are the identity plus a bias; left in training mode.
        batch: (N, C, H, W) float32, typical inputs.
    """
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    previous: nn.Module | None = None
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
            pairs.append((previous, module))
        previous = module

    def rescale(conv: nn.Conv2d, norm: nn.BatchNorm2d, out: Tensor) -> Tensor:
        mean, std = out.mean((0, 2, 3)), (out.var((0, 2, 3)) + 1e-6).sqrt()
        running_mean, running_var = norm.running_mean, norm.running_var
        assert running_mean is not None
        assert running_var is not None
        old_scale = norm.weight / (running_var + norm.eps).sqrt()
        conv.weight.div_(std[:, None, None, None])
        norm.bias.add_((mean - running_mean) * old_scale)
        norm.weight.copy_(std * old_scale)
        running_mean.copy_(mean / std)
        running_var.fill_(1.0 - norm.eps)
        return out / std[None, :, None, None]

    hooks = [
        conv.register_forward_hook(lambda c, _inputs, out, n=norm: rescale(c, n, out))
        for conv, norm in pairs
    ]
    trunk.eval()
    trunk(batch)
    for hook in hooks:
        hook.remove()
    trunk.train()
