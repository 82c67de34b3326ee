"""Loading initial weights by kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from clickcut_train.checkpoint import load_state, read_checkpoint
from clickcut_train.errors import CheckpointError, WeightsError
from clickcut_train.models import ClickNetwork, ModelConfig
from clickcut_train.models.efficientnet_lite import SCALES, EfficientNetLite
from clickcut_train.models.mobilenet_v2 import MobileNetV2
from clickcut_train.models.vgg16 import VGG16
from clickcut_train.weights.bundle import load_bundle
from clickcut_train.weights.efficientnet import read_efficientnet
from clickcut_train.weights.tensors import IMAGENET, SIGNED, fold_colours, install, read_torch

FOLDED = ("deeplab_fused", "bundle")
"""Kinds of files whose BatchNorms were folded into the convolutions."""


@dataclass(frozen=True)
class LoadReport:
    """What a file of weights gave.

    Attributes:
        loaded: tensors that were taken.
        missing: tensors of the network that keep their initial values.
        unused: tensors of the file that the network does not have.
    """

    loaded: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.loaded} tensors loaded"]
        for what, names in (("not in the file, new", self.missing), ("not used", self.unused)):
            if names:
                lines.append(f"  {what}: {', '.join(names)}")
        return "\n".join(lines)


def load_initial(network: ClickNetwork, model: ModelConfig, kind: str, path: Path) -> LoadReport:
    """Fill a network from a file.

    Args:
        network: of `model`, with random weights.
        model: its configuration.
        kind: of the file (`config.WeightsKind`, not "none").
        path: the file.

    Raises:
        WeightsError: the file is damaged, foreign or incomplete, or of another backbone.
        CheckpointError: likewise for a checkpoint.
    """
    if kind == "checkpoint":
        return _from_checkpoint(network, model, path)
    if kind == "bundle":
        return LoadReport(load_bundle(network, model, path), (), ())
    backbone = network.backbone
    wanted = VGG16 if kind.endswith("_vgg16") else MobileNetV2
    if isinstance(backbone, EfficientNetLite) and kind == model.backbone:
        tensors, unused, first = read_efficientnet(backbone, path)
        missing = install(backbone, tensors, first, str(path))
    elif not isinstance(backbone, wanted) or kind in SCALES:
        raise WeightsError(
            f"{path}: initial.kind = '{kind}' fills another backbone than model.backbone = "
            f"'{model.backbone}'"
        )
    elif isinstance(backbone, MobileNetV2):
        tensors, unused = _mobilenet_v2(backbone, kind, path)
        missing = install(backbone, tensors, "features.0.0.weight", str(path))
    else:
        from clickcut_train.weights import vgg16

        tensors, unused = vgg16.READERS[kind](path)
        missing = install(backbone, tensors, "features.0.weight", str(path), optional="fc")
    head = [f"head.{n}" for n in network.head.state_dict()]
    names = [f"backbone.{n}" for n in missing if not n.endswith("num_batches_tracked")]
    return LoadReport(len(tensors), (*names, *head), tuple(unused))


def _mobilenet_v2(
    backbone: MobileNetV2, kind: str, path: Path
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by the backbone's names, in our colours, and what is left over."""
    state = read_torch(path)
    prefix = "backbone." if kind == "deeplab_fused" else ""
    names = backbone.state_dict().keys()
    found = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    expanded = "features.1.conv.3.weight" in found
    if "features.1.conv.0.0.weight" in found and expanded != _expands_first(backbone):
        raise WeightsError(
            f"{path}: its block 1 has {'an' if expanded else 'no'} expansion; "
            f"set model.expand_first = {str(expanded).lower()}"
        )
    tensors = {n: v for n, v in found.items() if n in names}
    first = tensors.get("features.0.0.weight")
    mean = tensors.get("features.0.1.running_mean")
    if first is not None and mean is not None and first.ndim == 4 and first.shape[1] == 3:
        weight, added = fold_colours(first, SIGNED if kind == "deeplab_fused" else IMAGENET)
        # The convolution has no bias: the BatchNorm after it takes the shift.
        tensors["features.0.0.weight"], tensors["features.0.1.running_mean"] = weight, mean - added
    unused = [n for n in state if not n.startswith(prefix) or n.removeprefix(prefix) not in names]
    return tensors, unused


def _expands_first(backbone: MobileNetV2) -> bool:
    return "features.1.conv.3.weight" in backbone.state_dict()


def _from_checkpoint(network: ClickNetwork, model: ModelConfig, path: Path) -> LoadReport:
    """Averaged weights of a checkpoint; of the same architecture, or of a coarser FCN."""
    checkpoint = read_checkpoint(path)
    theirs = checkpoint.config.model
    fields = ("backbone", "width", "expand_first", "encoding", "previous")
    differ = [
        f"{f} = {getattr(theirs, f)}, not {getattr(model, f)}"
        for f in fields
        if getattr(theirs, f) != getattr(model, f)
    ]
    if differ:
        raise CheckpointError(f"{path}: a checkpoint of another network: {'; '.join(differ)}")
    ours = network.state_dict()
    state: Mapping[str, Tensor] = checkpoint.ema_state
    missing = _new_skips(network, model, theirs, state)
    load_state(network, {**{n: ours[n] for n in missing}, **state}, str(path))
    return LoadReport(len(state), tuple(missing), ())


def _new_skips(
    network: ClickNetwork, model: ModelConfig, theirs: ModelConfig, state: Mapping[str, Tensor]
) -> list[str]:
    """Tensors of skips that a coarser FCN does not have yet."""
    if not (model.architecture.startswith("fcn") and theirs.architecture.startswith("fcn")):
        return []
    names = network.state_dict().keys() - state.keys()
    return sorted(n for n in names if n.startswith(("head.score.", "head.up.")))
