"""EfficientNet-Lite 0 to 2 as a backbone: EfficientNet (Tan and Le 2019) made fit for int8.

Without squeeze-and-excitation and with ReLU6 throughout; stem and first and last stage are not
scaled (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from clickcut_train.models.batchnorm import ConvNorm

# Kernel, stride of the first block, expansion, output channels, blocks; EfficientNet-B0.
_PLAN = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_TAPPED_STAGES = (1, 2, 4, 6)
"""Stages whose last outputs the head reads: at strides 4, 8, 16 and 32."""
_STEM = 32
_EPS = 1e-3

SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
"""Factors on channels and on blocks."""


def _channels(base: int, width: float) -> int:
    """Channels times a factor, to the next multiple of 8 that is not more than 10 % smaller."""
    scaled = base * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int
) -> list[nn.Module]:
    """A convolution padded as TensorFlow's "same", and its BatchNorm.

    With stride 2 on even sides, "same" pads one pixel less before than after; symmetric padding
    would shift the features that the weights were trained on.
    """
    total = kernel - stride
    before, after = total // 2, total - total // 2
    layers: list[nn.Module] = []
    if before != after:
        layers.append(nn.ZeroPad2d((before, after, before, after)))
    padding = before if before == after else 0
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [*layers, conv, nn.BatchNorm2d(outputs, eps=_EPS)]


class MBConv(nn.Module):
    """Expand 1x1, depthwise, project 1x1; a shortcut where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_convolution(inputs, hidden, 1, 1, 1), nn.ReLU6(inplace=True)]
        layers += [*_convolution(hidden, hidden, kernel, stride, hidden), nn.ReLU6(inplace=True)]
        layers += _convolution(hidden, outputs, 1, 1, 1)
        self.conv = ConvNorm(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.shortcut else out


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite up to its last block, without the classifier's 1x1 convolution.

    Args:
        inputs: channels of the input.
        variant: a key of `SCALES`.
        width: a further factor on the channels; files of weights fit 1 only.

    Attributes:
        channels: of the features at strides 4, 8, 16, 32.
    """

    def __init__(self, inputs: int, variant: str, width: float = 1.0) -> None:
        super().__init__()
        wide, deep = SCALES[variant]
        current = _channels(_STEM, width)
        self.stem = ConvNorm(*_convolution(inputs, current, 3, 2, 1), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        self._taps: list[int] = []
        channels: list[int] = []
        for stage, (kernel, stride, expansion, base, count) in enumerate(_PLAN):
            out = _channels(base, wide * width)
            fixed = stage in (0, len(_PLAN) - 1)
            for k in range(count if fixed else math.ceil(count * deep)):
                blocks.append(MBConv(current, out, kernel, stride if k == 0 else 1, expansion))
                current = out
            if stage in _TAPPED_STAGES:
                self._taps.append(len(blocks) - 1)
                channels.append(out)
        self.blocks = nn.ModuleList(blocks)
        self.channels = tuple(channels)

    @property
    def first(self) -> nn.Conv2d:
        """The convolution that sees the input."""
        return next(m for m in self.stem if isinstance(m, nn.Conv2d))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W), sides multiples of 32 -> features at strides 4, 8, 16, 32."""
        taps = []
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._taps:
                taps.append(x)
        return taps
