"""Layers of a `.caffemodel`: the few fields of Caffe's `caffe.proto` that hold weights.

Field numbers are those of BVLC's caffe.proto. Unknown fields are skipped by protobuf itself.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from torch import Tensor

from clickcut_train.errors import WeightsError

_OPTIONAL, _REPEATED = 1, 3
_INT32, _INT64, _FLOAT, _DOUBLE, _STRING, _MESSAGE = 5, 3, 2, 1, 9, 11

# message -> field: number, label, type, message of the field.
_MESSAGES: dict[str, dict[str, tuple[int, int, int, str]]] = {
    "BlobShape": {"dim": (1, _REPEATED, _INT64, "")},
    "BlobProto": {
        "num": (1, _OPTIONAL, _INT32, ""),
        "channels": (2, _OPTIONAL, _INT32, ""),
        "height": (3, _OPTIONAL, _INT32, ""),
        "width": (4, _OPTIONAL, _INT32, ""),
        "data": (5, _REPEATED, _FLOAT, ""),
        "shape": (7, _OPTIONAL, _MESSAGE, "BlobShape"),
        "double_data": (8, _REPEATED, _DOUBLE, ""),
    },
    "LayerParameter": {
        "name": (1, _OPTIONAL, _STRING, ""),
        "blobs": (7, _REPEATED, _MESSAGE, "BlobProto"),
    },
    "V1LayerParameter": {
        "name": (4, _OPTIONAL, _STRING, ""),
        "blobs": (6, _REPEATED, _MESSAGE, "BlobProto"),
    },
    "NetParameter": {
        "name": (1, _OPTIONAL, _STRING, ""),
        "layers": (2, _REPEATED, _MESSAGE, "V1LayerParameter"),
        "layer": (100, _REPEATED, _MESSAGE, "LayerParameter"),
    },
}
_PACKED = ("dim", "data", "double_data")


@cache
def net_parameter() -> Any:
    """The class of Caffe's NetParameter, with the fields above."""
    file = descriptor_pb2.FileDescriptorProto(
        name="clickcut_caffe.proto", package="clickcut_caffe", syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        kind = file.message_type.add(name=name)
        for field, (number, label, scalar, of) in fields.items():
            entry = kind.field.add(name=field, number=number)
            entry.label, entry.type = label, scalar  # type: ignore[assignment]
            if of:
                entry.type_name = f".clickcut_caffe.{of}"
            if field in _PACKED:
                entry.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("clickcut_caffe.NetParameter")
    return message_factory.GetMessageClass(found)


def read_layers(path: Path) -> dict[str, list[Tensor]]:
    """Weights by layer, of the old (`layers`) and the new format (`layer`).

    Returns:
        float32 tensors of each layer that has a name, mostly weight and bias.

    Raises:
        WeightsError: no such file, damaged, or no layers in it.
    """
    net = net_parameter()()
    try:
        net.ParseFromString(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except message.DecodeError as error:
        raise WeightsError(f"{path}: damaged, or not a .caffemodel ({error})") from error
    layers = {
        layer.name: [_tensor(blob, f"{path}: layer {layer.name}") for blob in layer.blobs]
        for layer in (*net.layers, *net.layer)
        if layer.name
    }
    if not any(layers.values()):
        raise WeightsError(f"{path}: no layers with weights in it: not a trained .caffemodel")
    return layers


def _tensor(blob: Any, where: str) -> Tensor:
    data = np.array(blob.data or blob.double_data, np.float32)
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy
    if math.prod(shape) != data.size or min(shape, default=1) < 0:
        raise WeightsError(f"{where}: {data.size} weights, but its shape is {shape}")
    return torch.from_numpy(data.reshape(shape))
