"""BatchNorm layers: folded into convolutions while frozen, and recovered from folded weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """A sequence in which a BatchNorm that follows a convolution is folded into it in eval mode.

    A frozen BatchNorm is a scale and a shift for each channel. Applied to the convolution's weights
    instead of its output, it costs no pass over the activations, forwards or backwards; gradients
    reach the same parameters.

    Attributes:
        folds: False applies every layer by itself, so that hooks on convolutions run.
    """

    folds = True

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) through all layers."""
        if not self.folds:
            out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return out
        pending: nn.Conv2d | None = None
        for layer in self:
            if pending is not None:
                if isinstance(layer, nn.BatchNorm2d) and not layer.training:
                    x, pending = _folded(pending, layer, x), None
                    continue
                x, pending = _convolve(pending, x, pending.weight, pending.bias), None
            if isinstance(layer, nn.Conv2d):
                pending = layer
            else:
                x = layer(x)
        return x if pending is None else _convolve(pending, x, pending.weight, pending.bias)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise TypeError("a BatchNorm without running statistics cannot be folded")
    scale = norm.weight * torch.rsqrt(var + norm.eps)
    shift = norm.bias - mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return _convolve(conv, x, conv.weight * scale[:, None, None, None], shift)


def _convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution `conv` with other weights."""

    rows, columns = conv.stride
    slow = x.device.type == "cpu" and conv.groups > 1 and (rows, columns) != (1, 1)
    if slow and torch.is_autocast_enabled("cpu"):
        # oneDNN has no bfloat16 kernel for the gradient of a strided depthwise convolution, and its
        # reference code is 5 to 20 times slower. All places and then every second one: the same.
        dense = nn.functional.conv2d(x, weight, bias, 1, conv.padding, conv.dilation, conv.groups)
        return dense[..., ::rows, ::columns]
    return nn.functional.conv2d(
        x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )


@dataclass(frozen=True)
class Pair:
    """A convolution and the BatchNorm after it, with their names in the network."""

    conv_name: str
    conv: nn.Conv2d
    norm_name: str
    norm: nn.BatchNorm2d


def pairs(network: nn.Module) -> list[Pair]:
    """Every convolution that a BatchNorm follows."""
    found: list[Pair] = []
    previous: tuple[str, nn.Module] = "", network
    for name, module in network.named_modules():
        before = previous[1]
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            found.append(Pair(previous[0], before, name, module))
        previous = name, module
    return found


@torch.no_grad()
def fold_batchnorm(network: nn.Module) -> None:
    """Fold every BatchNorm into the convolution before it, leaving the function as it was.

    The BatchNorms stay, as the identity plus a bias. Weights of networks whose BatchNorms have
    different statistics can be averaged in this form.

    Args:
        network: changed in place.
    """
    for p in pairs(network):
        mean, var = p.norm.running_mean, p.norm.running_var
        if mean is None or var is None or p.conv.bias is not None:
            raise TypeError(f"{p.norm_name} cannot be folded into {p.conv_name}")
        scale = p.norm.weight * torch.rsqrt(var + p.norm.eps)
        p.conv.weight.mul_(scale[:, None, None, None])
        p.norm.bias.sub_(mean * scale)
        p.norm.weight.fill_(1.0)
        mean.zero_()
        var.fill_(1.0 - p.norm.eps)


@torch.no_grad()
def restore_batchnorm(network: nn.Module, batch: Tensor) -> None:
    """Give folded BatchNorm layers their statistics back, leaving the function as it was.

    Each convolution is scaled so that its output has unit variance on `batch`, and the BatchNorm
    that follows gets the scale and the mean, which is what training needs to be well conditioned.
    Weights of folded channels otherwise differ by a factor of a thousand.

    Args:
        network: its BatchNorms are the identity plus a bias; left in training mode.
        batch: (N, C, H, W) float32, typical inputs.
    """

    def rescale(conv: nn.Conv2d, norm: nn.BatchNorm2d, out: Tensor) -> Tensor:
        mean, std = out.mean((0, 2, 3)), (out.var((0, 2, 3)) + 1e-6).sqrt()
        running_mean, running_var = norm.running_mean, norm.running_var
        if running_mean is None or running_var is None:
            raise TypeError("a BatchNorm without running statistics has nothing to restore")
        old_scale = norm.weight / (running_var + norm.eps).sqrt()
        conv.weight.div_(std[:, None, None, None])
        norm.bias.add_((mean - running_mean) * old_scale)
        norm.weight.copy_(std * old_scale)
        running_mean.copy_(mean / std)
        running_var.fill_(1.0 - norm.eps)
        return out / std[None, :, None, None]

    hooks = [
        p.conv.register_forward_hook(lambda c, _inputs, out, n=p.norm: rescale(c, n, out))
        for p in pairs(network)
    ]
    blocks = [m for m in network.modules() if isinstance(m, ConvNorm)]
    network.eval()
    for block in blocks:
        block.folds = False
    try:
        network(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for block in blocks:
            del block.folds
    network.train()
