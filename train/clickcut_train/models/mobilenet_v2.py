"""MobileNetV2 (Sandler et al. 2018) as a backbone; module names as in torchvision's `features`."""

from __future__ import annotations

from torch import Tensor, nn

from clickcut_train.models.batchnorm import ConvNorm

# Table 2 of the paper: expansion, output channels, blocks, stride of the first block.
_PLAN = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_TAPS = (3, 6, 13, 17)
"""Layers whose outputs the head reads: the last ones at strides 4, 8, 16 and 32."""


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6."""
    return ConvNorm(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


def _scaled(channels: int, width: float) -> int:
    """Channels times the width multiplier, to the next multiple of 8, at least 8."""
    return max(8, int(channels * width + 4) // 8 * 8)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; a shortcut where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, hidden: int, expand: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(inputs, hidden, 1)] if expand else []
        layers += [
            convolution(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = ConvNorm(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.shortcut else out


class MobileNetV2(nn.Module):
    """MobileNetV2 up to its last block, without the classifier's 1x1 convolution.

    Args:
        inputs: channels of the input.
        width: the width multiplier.
        expand_first: block 1 has a 1x1 expansion as well (of factor 1); some files have it.

    Attributes:
        channels: of the features at strides 4, 8, 16, 32.
    """

    def __init__(self, inputs: int, width: float = 1.0, expand_first: bool = False) -> None:
        super().__init__()
        current = _scaled(32, width)
        layers: list[nn.Module] = [convolution(inputs, current, 3, 2)]
        outputs = [current]
        for expansion, base, blocks, stride in _PLAN:
            for i in range(blocks):
                out = _scaled(base, width)
                expand = expansion != 1 or expand_first
                layers.append(
                    InvertedResidual(
                        current, out, stride if i == 0 else 1, current * expansion, expand
                    )
                )
                current = out
                outputs.append(out)
        self.features = nn.Sequential(*layers)
        self.channels = tuple(outputs[i] for i in _TAPS)

    @property
    def first(self) -> nn.Conv2d:
        """The convolution that sees the input."""
        first = self.get_submodule("features.0.0")
        assert isinstance(first, nn.Conv2d)
        return first

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> features at strides 4, 8, 16, 32 (24, 32, 96, 320 channels)."""
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in _TAPS:
                taps.append(x)
        return taps
