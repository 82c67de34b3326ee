"""Putting the tensors of another network into a backbone."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from clickcut_train.errors import WeightsError
from clickcut_train.models.network import PIXEL_OFFSET, PIXEL_SCALE


@dataclass(frozen=True)
class Colours:
    """What a network takes: (pixel - mean) / std with pixels 0 to 255, order R, G, B."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


SIGNED = Colours((127.5,) * 3, (127.5,) * 3)
"""[-1, 1]: the TensorFlow models', and ours."""
IMAGENET = Colours((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""torchvision's."""
CAFFE = Colours((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
"""VGG's own, as Caffe and Keras have it (their channel order is B, G, R)."""


def read_torch(path: Path) -> dict[str, Tensor]:
    """A PyTorch state dict.

    Raises:
        WeightsError: no such file, damaged, or not a flat dict of tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged or not a PyTorch state dict ({reason})") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: not a flat dict of tensors, as `state_dict()` gives it")
    return dict(state)


def fold_colours(weight: Tensor, colours: Colours) -> tuple[Tensor, Tensor]:
    """A first convolution for our colours instead of those that it was trained with.

    Exact inside the image. At its border, where a convolution is padded with zeros, zero was the
    mean colour and is mid grey now.

    Args:
        weight: (O, 3, K, K), channels R, G, B.
        colours: what it was trained with.

    Returns:
        The new weight, and what is to be added to the convolution's output: (O,).
    """
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (colours.mean, colours.std))
    exact = weight.double()
    shift = (-PIXEL_OFFSET / PIXEL_SCALE - mean) / std
    added = (exact * shift[:, None, None]).sum((1, 2, 3))
    scaled = exact / (PIXEL_SCALE * std)[:, None, None]
    return scaled.to(weight.dtype), added.to(weight.dtype)


def install(
    module: nn.Module, tensors: Mapping[str, Tensor], first: str, where: str, optional: str = ""
) -> list[str]:
    """Copy tensors into a module; further input channels of the first convolution become zero.

    Args:
        module: where they go.
        tensors: by the module's names.
        first: name of the first convolution's weight.
        where: the file, for messages.
        optional: tensors whose names begin so may be missing.

    Returns:
        Names that were missing and so keep their random values.

    Raises:
        WeightsError: a tensor is missing or of another shape; the module is as it was.
    """
    ours = module.state_dict()
    missing = [n for n in ours if n not in tensors and not n.endswith("num_batches_tracked")]
    needed = [n for n in missing if not optional or not n.startswith(optional)]
    if needed:
        raise WeightsError(
            f"{where}: {len(needed)} of {len(ours)} tensors are not in it: {_few(needed)}; "
            "the file belongs to another network than the configured backbone, or is incomplete"
        )
    new = {}
    for name, value in ours.items():
        if name not in tensors:
            continue
        source = tensors[name]
        if name == first and source.ndim == 4:
            more = max(0, value.shape[1] - source.shape[1])
            source = functional.pad(source, (0, 0, 0, 0, 0, more))
        if source.shape != value.shape:
            raise WeightsError(
                f"{where}: {name} is {tuple(source.shape)}, the configured backbone needs "
                f"{tuple(value.shape)} (is model.width right?)"
            )
        new[name] = source
    module.load_state_dict(ours | new)
    return missing


def _few(names: list[str], shown: int = 4) -> str:
    return ", ".join(names[:shown]) + (
        f" and {len(names) - shown} more" if len(names) > shown else ""
    )
