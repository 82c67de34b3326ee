"""A click-conditioned fully convolutional network: any backbone with any head.

Tensors are (N, C, H, W). Input channels: R, G, B as pixel * `PIXEL_SCALE` + `PIXEL_OFFSET`, the
positive and the negative guidance map, and, when the network takes it, the previous probability.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from clickcut_train.models.efficientnet_lite import SCALES, EfficientNetLite
from clickcut_train.models.fcn import FCNHead
from clickcut_train.models.mobilenet_v2 import MobileNetV2
from clickcut_train.models.topdown import TopDownHead
from clickcut_train.models.vgg16 import VGG16

PIXEL_SCALE = 1 / 127.5
PIXEL_OFFSET = -1.0
"""Every network takes colours in [-1, 1]; loaders of weights fold other conventions into them."""

STRIDE = 32
"""Of the deepest features; inputs are padded to a multiple of it."""

BackboneName = Literal[
    "mobilenet_v2", "vgg16", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"
]
Backbone = MobileNetV2 | VGG16 | EfficientNetLite

Architecture = Literal["fcn32s", "fcn16s", "fcn8s", "fcn4s", "topdown"]
_FCN_STRIDES = {"fcn32s": 32, "fcn16s": 16, "fcn8s": 8, "fcn4s": 4}


class ModelConfig(BaseModel):
    """All that determines a network's function besides its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    architecture: Architecture = Field(default="topdown", description="the head")
    backbone: BackboneName = "mobilenet_v2"
    width: float = Field(default=1.0, gt=0, le=4, description="factor on the backbone's channels")
    expand_first: bool = Field(
        default=False,
        description="MobileNetV2 whose block 1 has a 1x1 expansion, as some ImageNet files",
    )
    head_channels: int = Field(default=96, ge=1, le=1024, description="of the topdown head")
    encoding: Literal["disc", "distance"] = Field(default="disc", description="of clicks")
    radius: int = Field(
        default=5, ge=0, le=64, description="of a disc, pixels of the network's input"
    )
    previous: bool = Field(default=True, description="the previous probability is an input channel")
    input_size: int = Field(
        default=256, ge=32, le=2048, multiple_of=32, description="S: side of training crops, pixels"
    )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the input channels, in order."""
        colours = ("red", "green", "blue", "positive", "negative")
        return (*colours, "probability") if self.previous else colours

    @property
    def name(self) -> str:
        """Architecture and backbone, for people and bundle metadata."""
        return f"{self.architecture}-{self.backbone}"


class ClickNetwork(nn.Module):
    """Backbone and head, with the scaling of distance maps and the padding to whole strides.

    Args:
        backbone: (N, C, H, W) -> features at strides 4, 8, 16, 32.
        head: features and guidance (N, 2 or 3, H, W) -> logits (N, 1, H, W).
        guidance_scale: factor on the two guidance maps; 1/255 for distances in pixels.
    """

    def __init__(
        self, backbone: Backbone, head: FCNHead | TopDownHead, guidance_scale: float
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.guidance_scale = backbone, head, guidance_scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, 5 or 6, H, W) -> logits (N, 1, H, W), for any H and W."""
        height, width = x.shape[-2:]
        bottom, right = -height % STRIDE, -width % STRIDE
        # Sizes that are not plain integers belong to an export with dynamic sizes: always pad.
        padded = type(height) is not int or type(width) is not int or bottom > 0 or right > 0
        if padded:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        if self.guidance_scale != 1:
            x = torch.cat([x[:, :3], x[:, 3:5] * self.guidance_scale, x[:, 5:]], 1)
        logits: Tensor = self.head(self.backbone(x), x[:, 3:])
        return logits[..., :height, :width] if padded else logits


def build(config: ModelConfig) -> ClickNetwork:
    """A network with random weights, except that the guidance channels start at zero."""
    channels = len(config.channels)
    backbone: Backbone
    if config.backbone == "vgg16":
        backbone = VGG16(channels, config.width)
    elif config.backbone in SCALES:
        backbone = EfficientNetLite(channels, config.backbone, config.width)
    else:
        backbone = MobileNetV2(channels, config.width, config.expand_first)
    head: FCNHead | TopDownHead
    if config.architecture == "topdown":
        head = TopDownHead(backbone.channels, channels - 3, config.head_channels)
    else:
        head = FCNHead(backbone.channels, _FCN_STRIDES[config.architecture])
    with torch.no_grad():
        backbone.first.weight[:, 3:] = 0  # paper section 3.3
    return ClickNetwork(backbone, head, 1 / 255 if config.encoding == "distance" else 1.0)
