"""VGG16 weights from torchvision, Keras and Caffe, by the names of our backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from clickcut_train.errors import WeightsError
from clickcut_train.weights.tensors import CAFFE, IMAGENET, Colours, fold_colours, read_torch

Read = Callable[[Path], tuple[dict[str, Tensor], list[str]]]
"""A file -> tensors by our names, in our colours, and the names that were not used."""

_CONVOLUTIONS = (2, 2, 3, 3, 3)


def _places() -> dict[tuple[int, int], str]:
    """Block and number of a convolution, from 1 -> its place in `features`."""
    places, layer = {}, 0
    for block, count in enumerate(_CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            places[block, number] = f"features.{layer}"
            layer += 2  # the convolution and its ReLU
        layer += 1  # the pooling
    return places


CAFFE_NAMES = {f"conv{b}_{n}": place for (b, n), place in _places().items()}
KERAS_NAMES = {f"block{b}_conv{n}": place for (b, n), place in _places().items()}
FULLY_CONNECTED = ("fc6", "fc7")
_PARTS = ("weight", "bias")


def _in_our_colours(tensors: dict[str, Tensor], colours: Colours, where: Path) -> None:
    weight, bias = tensors.get("features.0.weight"), tensors.get("features.0.bias")
    if weight is None or bias is None or weight.ndim != 4 or weight.shape[1] != 3:
        raise WeightsError(f"{where}: no first convolution of three colours: not VGG16's weights")
    folded, added = fold_colours(weight, colours)
    tensors["features.0.weight"], tensors["features.0.bias"] = folded, bias + added


def _convolutional(weight: Tensor, inputs: int, kernel: int, where: Path) -> Tensor:
    """A fully connected layer's (O, I * K * K) weights, of any rank, as (O, I, K, K)."""
    outputs = weight.numel() // (inputs * kernel * kernel)
    if outputs * inputs * kernel * kernel != weight.numel():
        raise WeightsError(
            f"{where}: a fully connected layer has {tuple(weight.shape)} weights, which is no "
            f"{kernel}x{kernel} convolution of {inputs} channels"
        )
    return weight.reshape(outputs, inputs, kernel, kernel)


def _with_fully_connected(
    tensors: dict[str, Tensor], layers: Mapping[str, tuple[Tensor, Tensor]], where: Path
) -> None:
    """Add fc6 and fc7, as far as they are there, as convolutions."""
    pool5 = tensors.get("features.28.bias")
    if pool5 is None:
        raise WeightsError(f"{where}: the convolutions of block 5 are missing: not all of VGG16")
    inputs, kernel = pool5.numel(), 7
    for name in FULLY_CONNECTED:
        if name not in layers:
            return
        weight, bias = layers[name]
        tensors[f"{name}.weight"] = _convolutional(weight, inputs, kernel, where)
        tensors[f"{name}.bias"] = bias.reshape(-1)
        inputs, kernel = bias.numel(), 1


def read_torchvision(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """torchvision's `vgg16` state dict; its two hidden fully connected layers become fc6 and fc7.

    Raises:
        WeightsError: damaged, or another network's.
    """
    state = read_torch(path)
    tensors = {n: v for n, v in state.items() if n.startswith("features.")}
    _in_our_colours(tensors, IMAGENET, path)
    classifier = {"classifier.0": "fc6", "classifier.3": "fc7"}
    layers = {
        ours: (state[f"{n}.weight"], state[f"{n}.bias"])
        for n, ours in classifier.items()
        if f"{n}.weight" in state and f"{n}.bias" in state
    }
    _with_fully_connected(tensors, layers, path)
    used = {f"{n}.{p}" for n, ours in classifier.items() if ours in layers for p in _PARTS}
    return tensors, [n for n in state if n not in used and not n.startswith("features.")]


def read_keras(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Keras' `vgg16 ... notop.h5`: convolutions only; fc6 and fc7 stay random.

    Raises:
        WeightsError: h5py is not installed; damaged, or another network's.
    """
    try:
        import h5py
    except ImportError as error:
        raise WeightsError("h5py is not installed: pip install 'clickcut[train]'") from error
    found: dict[str, dict[int, Tensor]] = {}
    unused: list[str] = []

    def visit(name: str, node: object) -> None:
        if not isinstance(node, h5py.Dataset):
            return
        layer = next((part for part in name.split("/") if part in KERAS_NAMES), "")
        if layer and node.ndim in (1, 4):
            found.setdefault(layer, {})[node.ndim] = torch.from_numpy(node[()]).float()
        else:
            unused.append(name)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise WeightsError(f"{path}: damaged, or not an HDF5 file ({error})") from error
    tensors: dict[str, Tensor] = {}
    for layer, parts in found.items():
        if 4 in parts and 1 in parts:
            # Keras: (K, K, I, O).
            tensors[f"{KERAS_NAMES[layer]}.weight"] = parts[4].permute(3, 2, 0, 1).contiguous()
            tensors[f"{KERAS_NAMES[layer]}.bias"] = parts[1]
    _in_rgb(tensors)
    _in_our_colours(tensors, CAFFE, path)
    return tensors, unused


def read_caffe(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """A `.caffemodel` of VGG16 or of Long et al.'s FCNs.

    Raises:
        WeightsError: damaged, or another network's.
    """
    from clickcut_train.weights.caffe import read_layers

    layers = read_layers(path)
    tensors: dict[str, Tensor] = {}
    for name, place in CAFFE_NAMES.items():
        blobs = layers.get(name, [])
        if len(blobs) == 2:
            tensors[f"{place}.weight"], tensors[f"{place}.bias"] = blobs[0], blobs[1].reshape(-1)
    _in_rgb(tensors)
    _in_our_colours(tensors, CAFFE, path)
    connected = {
        n: (layers[n][0], layers[n][1]) for n in FULLY_CONNECTED if len(layers.get(n, [])) == 2
    }
    _with_fully_connected(tensors, connected, path)
    used = CAFFE_NAMES.keys() | connected.keys()
    return tensors, [n for n, blobs in layers.items() if blobs and n not in used]


def _in_rgb(tensors: dict[str, Tensor]) -> None:
    """Turn the first convolution's channels from B, G, R."""
    weight = tensors.get("features.0.weight")
    if weight is not None and weight.ndim == 4:
        tensors["features.0.weight"] = weight.flip(1)


READERS: dict[str, Read] = {
    "torchvision_vgg16": read_torchvision,
    "keras_vgg16": read_keras,
    "caffe_vgg16": read_caffe,
}
