"""Rewrite parts of a graph that ONNX Runtime's CPU kernels are slow at; the function stays.

What each saves is in benchmarks/results/backends.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from clickcut_export.graph import INPUT, constant, consumers, drop_unused, producers

_OPSET = 13
"""From this one on Squeeze and Unsqueeze take their axes as an input."""

_MEAN = ".mean"
"""Ends the name of a pooling convolution's weight, which begins with that of its output."""


def faster_on_cpu(model: onnx.ModelProto) -> int:
    """Apply every rewriting; graphs of old operator sets stay as they are.

    Returns:
        How many parts were rewritten.
    """
    (opset,) = (o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < _OPSET:
        return 0
    done = pool_by_convolution(model) + enlarge_plain_maps(model)
    if done:
        drop_unused(model)
    return done


def pooling_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that stand for a pooling."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] == f"{node.output[0]}{_MEAN}"
    ]


def pool_by_convolution(model: onnx.ModelProto) -> int:
    """Average channels of the input by a convolution instead of a slice and a pooling.

    The guidance is shown once more near the output, smaller. Kernels that pool work on blocks of
    eight channels; for three they fall back to a slow one.

    Returns:
        How many there were.
    """
    made = producers(model)
    found = [node for node in model.graph.node if node.op_type == "AveragePool"]
    done = 0
    for pool in found:
        taken = made.get(pool.input[0])
        weight = None if taken is None else _mean_of_slice(model, taken, pool)
        if taken is None or weight is None:
            continue
        name = f"{pool.output[0]}{_MEAN}"
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
        side = list(weight.shape[2:])
        _replace(
            model,
            pool,
            helper.make_node(
                "Conv",
                [INPUT, name],
                list(pool.output),
                name=pool.name,
                kernel_shape=side,
                strides=side,
            ),
        )
        model.graph.node.remove(taken)
        done += 1
    return done


def _mean_of_slice(
    model: onnx.ModelProto, taken: onnx.NodeProto, pool: onnx.NodeProto
) -> np.ndarray | None:
    """(channels taken, channels, K, K) float32; None unless blocks of a slice are averaged."""
    if taken.op_type != "Slice" or taken.input[0] != INPUT or len(taken.input) not in (4, 5):
        return None
    if taken.output[0] in {v.name for v in model.graph.output}:
        return None
    if len(consumers(model, taken.output[0])) != 1:
        return None
    given = {a.name: helper.get_attribute_value(a) for a in pool.attribute}
    kernel = given.get("kernel_shape", [])
    if not _averages_blocks(given):
        return None
    start, end, axis, *step = (
        None if value is None else value.tolist()
        for value in (constant(model, name) for name in taken.input[1:])
    )
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    if start is None or end is None or axis != [1] or step not in ([], [[1]]) or not channels:
        return None
    which = range(channels)[start[0] : end[0]]
    weight = np.zeros((len(which), channels, *kernel), np.float32)
    for row, channel in enumerate(which):
        weight[row, channel] = 1 / np.prod(kernel)
    return weight


def _averages_blocks(pooling: Mapping[str, Any]) -> bool:
    """Whether an AveragePool with these attributes averages blocks side by side, without edges."""
    return (
        pooling.get("strides") == pooling.get("kernel_shape")
        and not any(pooling.get("pads", []))
        and not pooling.get("ceil_mode")
        and set(pooling.get("dilations", [])) <= {1}
        and pooling.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )


def enlarge_plain_maps(model: onnx.ModelProto) -> int:
    """Enlarge the score, a map of one channel, as a plain map, not as a block of eight channels.

    A shape that is changed in between makes ONNX Runtime leave its blocked layout.

    Returns:
        How many there were.
    """
    made = producers(model)
    shapes = {t.name: t.dims for t in model.graph.initializer}
    done = 0
    for resize in [node for node in model.graph.node if node.op_type == "Resize"]:
        score = made.get(resize.input[0])
        if score is None or score.op_type != "Conv" or shapes.get(score.input[1], [0])[0] != 1:
            continue
        axis, flat, plain = (f"{resize.output[0]}.{part}" for part in ("axis", "flat", "plain"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), axis))
        squeeze = helper.make_node("Squeeze", [resize.input[0], axis], [flat], name=flat)
        again = helper.make_node("Unsqueeze", [flat, axis], [plain], name=plain)
        at = list(model.graph.node).index(resize)
        model.graph.node.insert(at, again)
        model.graph.node.insert(at, squeeze)
        resize.input[0] = plain
        done += 1
    return done


def _replace(model: onnx.ModelProto, old: onnx.NodeProto, new: onnx.NodeProto) -> None:
    model.graph.node.insert(list(model.graph.node).index(old), new)
    model.graph.node.remove(old)
