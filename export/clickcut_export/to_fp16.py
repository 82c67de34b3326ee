"""A float bundle -> fp16 weights and arithmetic, float32 input and output; for GPUs.

The graph's own types are fp16, which is what TensorRT's strongly typed networks go by. On CPUs it
is slower than float32; it is verified there all the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from clickcut.backends import load_predictor
from clickcut.bundle import BundleMetadata
from clickcut_export.errors import ExportError
from clickcut_export.graph import INPUT, OUTPUT, finish, load_graph
from clickcut_export.parity import FLOAT16, Batch, Parity, Tolerance, compare

_FLOAT32_INPUTS = {"Resize": (1, 2)}
"""Inputs that ONNX wants in float32 whatever the data's type: region and scales of `Resize`."""

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Fp16Result:
    """An fp16 bundle, not yet written.

    Attributes:
        data: bytes of the bundle.
        metadata: as in it.
        parity: to the float bundle.
    """

    data: bytes
    metadata: BundleMetadata
    parity: Parity


def halve(bundle: Path, inputs: Sequence[Batch], tolerance: Tolerance = FLOAT16) -> Fp16Result:
    """Convert a float bundle to fp16.

    Args:
        bundle: the float bundle.
        inputs: (1, C, S, S) float32 each, on which both are compared on the CPU.
        tolerance: to the float bundle.

    Raises:
        BundleError: `bundle` is not one.
        ExportError: it is not float32 throughout, or a weight is too large for fp16.
        ParityError: the result is too far off.
    """
    model, metadata = load_graph(bundle)
    converted = to_half(model, str(bundle))
    metadata = metadata.model_copy(
        update={
            "version": f"{metadata.version}-fp16",
            "training": metadata.training | {"precision": "fp16"},
            "accuracy": {},  # was measured on the float model
        }
    )
    data = finish(converted, metadata)
    reference = load_predictor(bundle)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.onnx"
        path.write_bytes(data)
        predictor = load_predictor(path)
        parity = compare(reference.predict, predictor.predict, inputs, metadata.cut.threshold)
    parity.check(tolerance, f"the fp16 form of {bundle.name}")
    return Fp16Result(data, metadata, parity)


def to_half(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A graph that computes in fp16 between a cast behind its input and one before its output.

    Args:
        model: float32 throughout; not changed.
        where: file, for messages.

    Raises:
        ExportError: there are other types, or a weight is too large.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    for node in graph.node:
        if node.op_type in ("Cast", "Constant", "QuantizeLinear", "DequantizeLinear"):
            raise ExportError(f"{where}: holds {node.op_type}; give the float32 bundle")
    stay = {
        node.input[k]
        for node in graph.node
        for k in _FLOAT32_INPUTS.get(node.op_type, ())
        if k < len(node.input)
    }
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in stay:
            value = numpy_helper.to_array(tensor)
            if not np.abs(value).max(initial=0) <= _LARGEST:
                raise ExportError(f"{where}: {tensor.name} is too large for fp16")
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), tensor.name))
    inside = {INPUT: f"{INPUT}_fp16", OUTPUT: f"{OUTPUT}_fp16"}
    for node in graph.node:
        node.input[:] = [inside.get(v, v) for v in node.input]
        node.output[:] = [inside.get(v, v) for v in node.output]
    first = helper.make_node("Cast", [INPUT], [inside[INPUT]], "to_fp16", to=TensorProto.FLOAT16)
    last = helper.make_node("Cast", [inside[OUTPUT]], [OUTPUT], "to_fp32", to=TensorProto.FLOAT)
    nodes = [first, *graph.node, last]
    del graph.node[:], graph.value_info[:]  # types of values in between are inferred again
    graph.node.extend(nodes)
    return half
