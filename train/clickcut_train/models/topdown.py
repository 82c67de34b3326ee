"""A head that carries features, not scores, from coarse to fine, and shows the clicks again."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from clickcut_train.models.batchnorm import ConvNorm
from clickcut_train.models.mobilenet_v2 import convolution


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(channels, channels, 3, groups=channels), convolution(channels, channels, 1)
    )


class TopDownHead(nn.Module):
    """Features at stride 32, enlarged and added to those of strides 16, 8 and 4 in turn.

    The top-down pathway of feature pyramid networks (Lin et al. 2017) with global pooling at its
    top (PSPNet, Zhao et al. 2017) and the guidance once more at stride 4.

    Args:
        channels: of the backbone's features at strides 4, 8, 16, 32.
        guidance: input channels besides R, G, B.
        width: channels of the head.
    """

    def __init__(self, channels: Sequence[int], guidance: int, width: int) -> None:
        super().__init__()
        self.pooled = nn.Conv2d(channels[3], width, 1)
        self.lateral = nn.ModuleList(
            ConvNorm(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width)) for c in channels
        )
        # The clicks enter a second time near the output: a click must hold where it was made.
        self.echo = nn.Conv2d(guidance, width, 1, bias=False)
        self.refine = nn.ModuleList(_separable(width) for _ in channels)
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, taps: list[Tensor], guidance: Tensor) -> Tensor:
        """Features at strides 4 to 32 and guidance (N, 2 or 3, H, W) -> logits (N, 1, H, W)."""
        top = self.lateral[3](taps[3]) + self.pooled(taps[3].mean((2, 3), keepdim=True))
        top = top + self.refine[3](F.relu6(top))
        for level in (2, 1, 0):
            up = F.interpolate(top, scale_factor=2.0, mode="bilinear", align_corners=False)
            top = up + self.lateral[level](taps[level])
            if level == 0:
                top = top + self.echo(F.avg_pool2d(guidance, 4))
            top = top + self.refine[level](F.relu6(top))
        return F.interpolate(
            self.score(top), scale_factor=4.0, mode="bilinear", align_corners=False
        )
