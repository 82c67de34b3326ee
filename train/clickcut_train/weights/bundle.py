"""The weights of a shipped model: out of an ONNX bundle, into the network that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clickcut.bundle import METADATA_KEY, BundleMetadata, parse_metadata
from clickcut.errors import ClickcutError
from clickcut_train.errors import WeightsError
from clickcut_train.models import ClickNetwork, ModelConfig
from clickcut_train.models.batchnorm import pairs
from clickcut_train.old_keys import new_tensor_names

_PREFIX = "network."
"""Of names in the graph: the exporter wraps the network in a module that drops the channel axis."""


def load_bundle(network: ClickNetwork, model: ModelConfig, path: Path) -> int:
    """Fill a network from a bundle; its BatchNorms become the identity plus a bias.

    The exporter folds every BatchNorm into the convolution before it. `restore_batchnorm` gives
    them statistics again where they are to be trained.

    Args:
        network: of `model`.
        model: its configuration, which must agree with the bundle's metadata.
        path: the bundle.

    Returns:
        Number of tensors that were read.

    Raises:
        WeightsError: no bundle, of another network or input form, in reduced precision, or
            incomplete; the network is as it was.
    """
    metadata, found = _read(path)
    _check_metadata(model, metadata, path)
    new = dict(network.state_dict())
    used: set[str] = set()

    def take(name: str) -> Tensor:
        if name not in found:
            raise WeightsError(
                f"{path}: {name} is not in it: made by another exporter, quantized, or of another "
                "network"
            )
        used.add(name)
        return found[name]

    folded = pairs(network)
    for p in folded:
        channels = p.conv.out_channels
        new[f"{p.conv_name}.weight"] = take(f"{p.conv_name}.weight")
        new[f"{p.norm_name}.bias"] = take(f"{p.conv_name}.bias")
        new[f"{p.norm_name}.weight"] = torch.ones(channels)
        new[f"{p.norm_name}.running_mean"] = torch.zeros(channels)
        new[f"{p.norm_name}.running_var"] = torch.full((channels,), 1.0 - p.norm.eps)
    done = tuple(f"{name}." for p in folded for name in (p.conv_name, p.norm_name))
    for name in new:
        if not name.startswith(done):
            new[name] = take(name)
    _check_shapes(network, new, path)
    left = sorted(n for n in found if n not in used and found[n].ndim > 1)
    if left:
        raise WeightsError(f"{path}: it holds weights that the network lacks: {left[:4]}")
    network.load_state_dict(new)
    return len(used)


def bundle_options(path: Path) -> dict[str, Any]:
    """What a bundle says of its use, and a model that goes on from it should say too.

    Returns:
        `input_size`, `region` and `cut` of its metadata, as JSON has them.

    Raises:
        WeightsError: as `load_bundle`.
    """
    metadata, _ = _read(path)
    return metadata.model_dump(mode="json", include={"input_size", "region", "cut"})


def _check_metadata(model: ModelConfig, metadata: BundleMetadata, path: Path) -> None:
    guidance = metadata.guidance
    theirs = (metadata.architecture, metadata.channels, guidance.encoding, guidance.radius)
    ours = (model.name, model.channels, model.encoding, model.radius)
    names = ("architecture", "channels", "encoding", "radius")
    differ = [
        f"{name} = {a}, not {b}" for name, a, b in zip(names, theirs, ours, strict=True) if a != b
    ]
    if differ:
        raise WeightsError(f"{path}: a bundle of another network: {'; '.join(differ)}")


def _read(path: Path) -> tuple[BundleMetadata, dict[str, Tensor]]:
    """Metadata and float32 tensors of a bundle, by the network's names."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError as error:
        raise WeightsError("onnx is not installed: pip install 'clickcut[train]'") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise WeightsError(f"{path}: not a readable ONNX file ({error})") from error
    document = {p.key: p.value for p in model.metadata_props}.get(METADATA_KEY)
    if document is None:
        raise WeightsError(f"{path}: not a bundle: it has no metadata of clickcut")
    try:
        metadata = parse_metadata(document, str(path))
    except ClickcutError as error:
        raise WeightsError(str(error)) from error
    found = {}
    for tensor in model.graph.initializer:
        if tensor.name.startswith(_PREFIX):
            if tensor.data_type != onnx.TensorProto.FLOAT:
                raise WeightsError(
                    f"{path}: {tensor.name} is not float32; give the bundle before it was reduced"
                )
            values = np.array(numpy_helper.to_array(tensor), np.float32)
            found[tensor.name.removeprefix(_PREFIX)] = torch.from_numpy(values)
    return metadata, new_tensor_names(found)


def _check_shapes(network: nn.Module, new: dict[str, Tensor], path: Path) -> None:
    for name, value in network.state_dict().items():
        if new[name].shape != value.shape:
            raise WeightsError(
                f"{path}: {name} is {tuple(new[name].shape)}, the configured network needs "
                f"{tuple(value.shape)} (are model.width and model.head_channels right?)"
            )
