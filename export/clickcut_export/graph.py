"""ONNX graphs: cleaned so that the same model gives the same bytes, and closed as a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from clickcut.bundle import METADATA_KEY, BundleMetadata
from clickcut.bundle.file import read_bundle, seal
from clickcut.bundle.reference import REFERENCE_KEY, ReferenceAnswer
from clickcut.whole_file import whole_file
from clickcut_export.errors import ExportError

INPUT, OUTPUT = "input", "logits"
"""Names of a bundle's only input and output."""

_DOMAINS = ("", "com.microsoft")
"""Operator sets that a bundle may name: the standard and ONNX Runtime's own."""


def constant(model: onnx.ModelProto, name: str) -> np.ndarray | None:
    """The value of an initializer; None when `name` is not one."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    return None


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each value."""
    return {value: node for node in model.graph.node for value in node.output}


def consumers(model: onnx.ModelProto, value: str) -> list[onnx.NodeProto]:
    """The nodes that read a value."""
    return [node for node in model.graph.node if value in node.input]


def drop_empty_pads(model: onnx.ModelProto) -> int:
    """Take out padding by nothing, which an export with sizes in multiples of 32 leaves behind.

    Returns:
        How many there were.
    """
    empty = []
    for node in model.graph.node:
        if node.op_type == "Pad":
            pads = constant(model, node.input[1])
            if pads is not None and not pads.any():
                empty.append(node)
    for pad in empty:
        for node in consumers(model, pad.output[0]):
            node.input[:] = [pad.input[0] if v == pad.output[0] else v for v in node.input]
        model.graph.node.remove(pad)
    return len(empty)


def drop_unused(model: onnx.ModelProto) -> None:
    """Take out initializers and shapes of values that no node reads or makes any more."""
    used = {v for node in model.graph.node for v in (*node.input, *node.output)}
    used |= {v.name for v in model.graph.output}
    for kept in (model.graph.initializer, model.graph.value_info):
        for item in [i for i in kept if i.name not in used]:
            kept.remove(item)  # type: ignore[arg-type]


def drop_traces(model: onnx.ModelProto) -> None:
    """Take out what does not belong to the function: names of source files, comments, tools."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    graph = model.graph
    for value in (*graph.value_info, *graph.input, *graph.output):
        del value.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    del graph.metadata_props[:], model.metadata_props[:], model.functions[:]
    graph.name, graph.doc_string, model.doc_string = "clickcut", "", ""
    model.producer_name, model.producer_version = "clickcut", ""
    kept = [o for o in model.opset_import if o.domain in _DOMAINS]
    used = {node.domain for node in graph.node}
    del model.opset_import[:]
    model.opset_import.extend(o for o in kept if o.domain == "" or o.domain in used)


def finish(
    model: onnx.ModelProto, metadata: BundleMetadata, reference: ReferenceAnswer | None = None
) -> bytes:
    """Check a graph and close it as a bundle, with its metadata and its seal.

    Args:
        model: changed in place.
        metadata: goes into the file.
        reference: answer that every engine must give; goes into the file.

    Returns:
        The bytes of the bundle, the same for the same arguments.

    Raises:
        ExportError: the graph is not valid ONNX.
    """
    drop_unused(model)
    drop_traces(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph is not valid ONNX: {str(error).splitlines()[0]}") from error
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, metadata.model_dump_json()
    if reference is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = REFERENCE_KEY, reference.model_dump_json()
    return seal(model.SerializeToString(deterministic=True))


def load_graph(path: Path) -> tuple[onnx.ModelProto, BundleMetadata]:
    """The graph of a bundle, without its metadata entries, and its metadata.

    Raises:
        BundleError: not a bundle, or a damaged one.
    """
    bundle = read_bundle(path)
    model = onnx.load_model_from_string(bundle.data)
    del model.metadata_props[:]
    return model, bundle.metadata


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is either whole or not there.

    Raises:
        ExportError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(data)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror})") from error


def operators(model: onnx.ModelProto) -> list[str]:
    """Kinds of operators in a graph, sorted."""
    return sorted({node.op_type for node in model.graph.node})


def without(nodes: Iterable[onnx.NodeProto], kinds: tuple[str, ...]) -> list[onnx.NodeProto]:
    """The nodes that are of none of the kinds."""
    return [node for node in nodes if node.op_type not in kinds]
