"""FCN-32s, -16s, -8s and -4s (Long, Shelhamer, Darrell 2015): scores fused from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BilinearUp(nn.Module):
    """A transposed convolution that doubles the size and starts as bilinear interpolation.

    The border is replicated first: a transposed convolution alone fades to 0 there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=3, bias=False)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.conv.weight[0, 0] = line[:, None] * line[None, :]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> (N, 1, 2H, 2W)."""
        out: Tensor = self.conv(F.pad(x, (1, 1, 1, 1), mode="replicate"))
        return out


class FCNHead(nn.Module):
    """Scores at stride 32, doubled and added to those of each skip down to `stride`.

    All strides share their layers, so a finer one goes on from a coarser one's weights; a new
    skip starts at zero and so changes nothing at first. The last enlargement is fixed to bilinear
    interpolation and the ones before are learned, as Long et al. (section 4.3).

    Args:
        channels: of the backbone's features at strides 4, 8, 16, 32.
        stride: 32, 16, 8 or 4.
    """

    def __init__(self, channels: Sequence[int], stride: int) -> None:
        super().__init__()
        self.stride = stride
        skips = {32: 0, 16: 1, 8: 2, 4: 3}[stride]
        # Index 0 is the stride-32 score, index k the skip at stride 32 / 2^k.
        finest_last = list(reversed(channels))
        self.score = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in finest_last[: skips + 1])
        self.up = nn.ModuleList(BilinearUp() for _ in range(skips))
        for layer in self.score:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, taps: list[Tensor], _guidance: Tensor) -> Tensor:
        """Features at strides 4, 8, 16, 32 -> logits (N, 1, H, W)."""
        finest_last = taps[::-1]
        score: Tensor = self.score[0](finest_last[0])
        for level, up in enumerate(self.up, 1):
            score = up(score) + self.score[level](finest_last[level])
        return F.interpolate(
            score, scale_factor=float(self.stride), mode="bilinear", align_corners=False
        )
