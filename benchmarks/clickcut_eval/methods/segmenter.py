"""The compared semantic segmenter: DeepLab v3 on MobileNetV2, 21 VOC classes, in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut_eval.errors import MethodError

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 513
"""The network's input: the photograph's longer side becomes this, the rest is grey."""

_STRIDES = {2: 2, 4: 2}
"""Blocks that halve the resolution, besides the first convolution; output stride 8."""

_DILATIONS = {block: 1 if block < 8 else 2 if block < 15 else 4 for block in range(1, 18)}
"""Blocks 7 and 14 had stride 2 when the backbone was trained to classify; here it is 1, and the
depthwise convolutions behind them are dilated."""


class Segmenter:
    """Class scores of a photograph.

    Args:
        weights: state dict of the network with BatchNorm folded into its convolutions.
        threads: of PyTorch.

    Raises:
        MethodError: PyTorch is not installed, or the file is not such a state dict.
    """

    def __init__(self, weights: Path, threads: int = 1) -> None:
        try:
            import torch
        except ImportError as error:
            raise MethodError("the semantic methods need PyTorch: pip install torch") from error
        torch.set_num_threads(max(threads, 1))
        try:
            state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
            self._state = {k: v.float() for k, v in state.items() if v.is_floating_point()}
        except Exception as error:  # PyTorch raises many kinds for damaged files
            raise MethodError(f"{weights}: not a state dict ({error})") from error
        missing = [
            k
            for k in ("backbone.features.17.conv.3.bias", "logits.weight", "aspp0.weight")
            if k not in self._state
        ]
        if missing:
            raise MethodError(f"{weights}: has no tensor {', '.join(missing)}")

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB -> (H, W, classes) float32, summing to 1."""
        import torch

        height, width = pixels.shape[:2]
        factor = SIDE / max(height, width)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        canvas = np.zeros((SIDE, SIDE, 3), np.float32)
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        canvas[: size[1], : size[0]] = small / np.float32(127.5) - 1
        with torch.inference_mode():
            x = torch.from_numpy(canvas.transpose(2, 0, 1)[None].copy())
            scores = self._head(self._backbone(x))[0].numpy()
        full = _resized(np.ascontiguousarray(scores.transpose(1, 2, 0)), (SIDE, SIDE))
        full = _resized(full[: size[1], : size[0]], (width, height))
        raised = np.exp(full - full.max(axis=2, keepdims=True))
        return np.asarray(raised / raised.sum(axis=2, keepdims=True), np.float32)

    def _backbone(self, x: Tensor) -> Tensor:
        x = self._unit(x, "features.0", 0, stride=2)
        for block in range(1, 18):
            stride, dilation = _STRIDES.get(block, 1), _DILATIONS[block]
            name, y, layer = f"features.{block}.conv", x, 0
            if block > 1:  # the first block does not expand
                y = self._unit(y, f"{name}.0", 0)
                layer = 1
            y = self._unit(y, f"{name}.{layer}", 0, stride, dilation)
            y = self._unit(y, name, layer + 1, linear=True)
            x = x + y if y.shape == x.shape else y
        return x

    def _unit(
        self,
        x: Tensor,
        name: str,
        first: int,
        stride: int = 1,
        dilation: int = 1,
        linear: bool = False,
    ) -> Tensor:
        """Convolution, BatchNorm with its statistics, ReLU6 unless linear."""
        from torch.nn import functional

        def part(layer: int, what: str) -> Tensor:
            return self._state[f"backbone.{name}.{layer}.{what}"]

        weight = part(first, "weight")
        groups = x.shape[1] // weight.shape[1]
        pad = dilation * (weight.shape[2] // 2)
        x = functional.conv2d(x, weight, None, stride, pad, dilation, groups)
        norm: list[Any] = [
            part(first + 1, w) for w in ("running_mean", "running_var", "weight", "bias")
        ]
        x = functional.batch_norm(x, *norm)
        return x if linear else functional.relu6(x)

    def _head(self, x: Tensor) -> Tensor:
        import torch

        def conv(y: Tensor, name: str) -> Tensor:
            return torch.conv2d(y, self._state[f"{name}.weight"], self._state[f"{name}.bias"])

        pooled = torch.relu(conv(x.mean((2, 3), keepdim=True), "pool")).expand(-1, -1, *x.shape[2:])
        joined = torch.cat([pooled, torch.relu(conv(x, "aspp0"))], 1)
        return conv(torch.relu(conv(joined, "proj")), "logits")


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)
