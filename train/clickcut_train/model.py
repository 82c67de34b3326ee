"""FCN with skip connections on a MobileNetV2 trunk, conditioned on clicks.

Tensors are (N, C, H, W). Input channels: R, G, B (as x / 127.5 - 1), the positive and the negative
guidance map, and, when the model takes it, the previous probability.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# MobileNetV2 1.0: expansion, output channels, blocks, stride of the first block.
_PLAN = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_TAPS = {3: 24, 6: 32, 13: 96, 17: 320}
"""Feature layers that the head reads, and their channels: strides 4, 8, 16 and 32."""


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand 1x1, depthwise 3x3, project 1x1; a shortcut where it fits."""

    def __init__(self, cin: int, cout: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = cin * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv(cin, hidden, 1)]
        layers += [
            _conv(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, cout, 1, bias=False),
            nn.BatchNorm2d(cout),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        """(N, cin, H, W) -> (N, cout, H / stride, W / stride)."""
        return x + self.conv(x) if self.shortcut else self.conv(x)


class Trunk(nn.Module):
    """MobileNetV2 up to its last block; `forward` returns the features at strides 4, 8, 16, 32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(channels, 32, 3, 2)]
        cin = 32
        for expansion, cout, blocks, stride in _PLAN:
            for i in range(blocks):
                layers.append(InvertedResidual(cin, cout, stride if i == 0 else 1, expansion))
                cin = cout
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> features of 24, 32, 96 and 320 channels at strides 4, 8, 16, 32."""
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in _TAPS:
                taps.append(x)
        return taps


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(channels, channels, 3, groups=channels), _conv(channels, channels, 1)
    )


class ClickFCN(nn.Module):
    """Trunk plus a top-down head that adds the skips of strides 16, 8 and 4 one after the other.

    Args:
        guidance: number of input channels besides R, G, B.
        width: channels of the head.
        guidance_scale: factor on the guidance maps; 1/255 for distances in pixels.
    """

    def __init__(self, guidance: int = 3, width: int = 96, guidance_scale: float = 1.0) -> None:
        super().__init__()
        self.guidance, self.width, self.guidance_scale = guidance, width, guidance_scale
        self.trunk = Trunk(3 + guidance)
        self.pooled = nn.Conv2d(_TAPS[17], width, 1)
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width))
            for c in _TAPS.values()
        )
        # The clicks enter a second time near the output: a click must hold where it was made.
        self.echo = nn.Conv2d(guidance, width, 1, bias=False)
        self.refine = nn.ModuleList(_separable(width) for _ in _TAPS)
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3 + guidance, H, W) -> logits (N, 1, H, W); H and W divisible by 32."""
        if self.guidance_scale != 1:
            x = torch.cat([x[:, :3], x[:, 3:5] * self.guidance_scale, x[:, 5:]], 1)
        taps = self.trunk(x)
        top = self.lateral[3](taps[3]) + self.pooled(taps[3].mean((2, 3), keepdim=True))
        top = top + self.refine[3](F.relu6(top))
        for level in (2, 1, 0):
            up = F.interpolate(top, scale_factor=2.0, mode="bilinear", align_corners=False)
            top = up + self.lateral[level](taps[level])
            if level == 0:
                top = top + self.echo(F.avg_pool2d(x[:, 3:], 4))
            top = top + self.refine[level](F.relu6(top))
        return F.interpolate(
            self.score(top), scale_factor=4.0, mode="bilinear", align_corners=False
        )


def load_fused_trunk(trunk: Trunk, path: Path) -> None:
    """Load the trunk of a DeepLab-style segmenter whose BatchNorm was folded into its convolutions.

    The two click channels and the previous probability start at zero (paper section 3.3). Its later
    stages were dilated; run strided they compute the same features at every second position.

    Raises:
        ValueError: a tensor is missing or has another shape.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    ours = trunk.state_dict()
    for name, value in ours.items():
        source = state.get(f"backbone.{name}")
        if source is None:
            raise ValueError(f"{path.name}: has no tensor backbone.{name}")
        if name == "features.0.0.weight":
            value.zero_()
            value[:, :3] = source
        elif source.shape != value.shape:
            raise ValueError(
                f"{path.name}: backbone.{name} is {tuple(source.shape)}, "
                f"expected {tuple(value.shape)}"
            )
        else:
            value.copy_(source)
    trunk.load_state_dict(ours)


@torch.no_grad()
def restore_batchnorm(trunk: Trunk, batch: Tensor) -> None:
    """Give folded BatchNorm layers their statistics back, leaving the function as it was.

    Each convolution is scaled so that its output has unit variance on `batch`, and the BatchNorm
    that follows gets the scale and the mean, which is what training needs to be well conditioned.
    Weights of folded channels otherwise differ by a factor of a thousand.

    Args:
        trunk: a trunk whose BatchNorms are the identity plus a bias.
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
        old_scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        conv.weight.div_(std[:, None, None, None])
        norm.bias.add_((mean - norm.running_mean) * old_scale)
        norm.weight.copy_(std * old_scale)
        norm.running_mean.copy_(mean / std)
        norm.running_var.fill_(1.0 - norm.eps)
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
