"""VGG16 (Simonyan and Zisserman 2015) as a backbone, its classifier made convolutional.

fc6 and fc7 are convolutions of 7x7 and 1x1 (Long et al. 2015); `features` has torchvision's layout.
Long et al. pad the image by 100 pixels so that fc6 fits; here fc6 is padded by 3, which gives the
same features inside and one output per 32 pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

_PLAN = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of the five blocks; each ends in a 2x2 max pooling."""


class VGG16(nn.Module):
    """VGG16 with convolutional fc6 and fc7: 134 million parameters at width 1.

    Args:
        inputs: channels of the input.
        width: factor on all channels.

    Attributes:
        channels: of pool2, pool3, pool4 and fc7: strides 4, 8, 16, 32.
    """

    def __init__(self, inputs: int, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._taps: list[int] = []
        current = inputs
        pooled = []
        for base, convolutions in _PLAN:
            out = max(1, round(base * width))
            for _ in range(convolutions):
                layers += [nn.Conv2d(current, out, 3, padding=1), nn.ReLU(inplace=True)]
                current = out
            layers.append(nn.MaxPool2d(2))
            self._taps.append(len(layers) - 1)
            pooled.append(out)
        wide = max(1, round(4096 * width))
        self.features = nn.Sequential(*layers)
        self.fc6 = nn.Conv2d(current, wide, 7, padding=3)
        self.fc7 = nn.Conv2d(wide, wide, 1)
        self.drop = nn.Dropout(0.5)
        self.channels = (pooled[1], pooled[2], pooled[3], wide)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    @property
    def first(self) -> nn.Conv2d:
        """The convolution that sees the input."""
        first = self.get_submodule("features.0")
        assert isinstance(first, nn.Conv2d)
        return first

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> features at strides 4, 8, 16, 32 (128, 256, 512, 4096 channels)."""
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self._taps[1:4]:
                taps.append(x)
        x = self.drop(self.fc6(x).relu())
        taps.append(self.drop(self.fc7(x).relu()))
        return taps
