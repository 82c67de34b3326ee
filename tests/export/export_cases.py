"""Small bundles and checkpoints with which an export takes seconds."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import torch
from fakes import metadata, picture
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from clickcut_eval.targets import Target
from clickcut_export.graph import finish
from clickcut_train.checkpoint import Checkpoint, write_checkpoint
from clickcut_train.config import TrainConfig
from clickcut_train.models import ModelConfig, build


def tiny_graph(size=64, batch="batch", symbolic=False):
    """Two convolutions and a score: (batch, 6, S, S) -> (batch, S, S)."""
    rng = np.random.default_rng(0)

    def weight(name, *shape, factor=1):
        value = rng.standard_normal(shape) * 2 * factor / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(value.astype(np.float32), name)

    sides = ["rows", "columns"] if symbolic else [size, size]
    nodes = [
        helper.make_node("Conv", ["input", "w0", "b0"], ["c0"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], "relu_first"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu_second"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "score", pads=[0, 0, 0, 0]),
        helper.make_node("Squeeze", ["c2", "axis"], ["logits"], "squeeze"),
    ]
    weights = [
        weight("w0", 8, 6, 3, 3),
        weight("b0", 8),
        weight("w1", 8, 8, 3, 3),
        weight("b1", 8),
        weight("w2", 1, 8, 1, 1, factor=4),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 6, *sides])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, *sides])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def tiny_bundle(path, size=64, **graph):
    """A bundle with `tiny_graph`, written in milliseconds."""
    path.write_bytes(finish(tiny_graph(size, **graph), metadata(input_size=size, name="tiny")))
    return path


def inputs(count, size=64, seed=0):
    """Network inputs: noise as colours, one disc of each sign, a previous probability."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        x = np.zeros((1, 6, size, size), np.float32)
        x[0, :3] = cv2.GaussianBlur(rng.uniform(-3, 3, (size, size, 3)), (0, 0), 2).transpose(
            2, 0, 1
        )
        for channel in (3, 4):
            a, b = rng.integers(8, size - 8, 2)
            x[0, channel, a - 3 : a + 4, b - 3 : b + 4] = 1
        x[0, 5] = cv2.GaussianBlur(rng.uniform(0, 1, (size, size)), (0, 0), 3)
        out.append(x)
    return out


def targets(folder, count=2):
    """Photographs of a bright ellipse, written to `folder`, and the ellipse as the object."""
    out = []
    for seed in range(count):
        image = picture(seed=seed)
        path = folder / f"picture{seed}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        mask = image[..., 0] > 150
        out.append(Target.of(path.stem, path, mask, np.zeros_like(mask)))
    return out


def data_folder(folder, count=2):
    """The same as a folder with `images/` and `masks/`."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for target in targets(folder / "images", count):
        mask = target.ground_truth().mask.astype(np.uint8) * 255
        cv2.imwrite(str(folder / "masks" / target.image.name), mask)
    return folder


def lively(network):
    """Random weights everywhere: heads start at zero and BatchNorm as the identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
            elif isinstance(module, nn.Conv2d) and not module.weight.any():
                module.weight.normal_(0, 0.2, generator=generator)
        network.backbone.first.weight[:, 3:].normal_(0, 0.2, generator=generator)
    return network


def write_random(path, **model):
    """A checkpoint of a small random network."""
    torch.manual_seed(0)
    config = TrainConfig(model=ModelConfig(**({"input_size": 64} | model)))
    state = lively(build(config.model)).state_dict()
    provenance = {"weights": {"file": "somewhere.pth", "sha256": "ab"}}
    write_checkpoint(path, Checkpoint(config, 32, state, state, provenance=provenance))
    return path


def operators(path):
    """Kinds of operators in a bundle."""
    return {node.op_type for node in onnx.load(str(path)).graph.node}
