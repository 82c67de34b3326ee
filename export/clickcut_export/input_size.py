"""The same network at another input size, which a fully convolutional graph states at its ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from clickcut.backends import load_predictor
from clickcut.bundle.reference import REFERENCE_KEY
from clickcut.errors import ClickcutError
from clickcut_export.errors import ExportError


def set_input_size(model: onnx.ModelProto, size: int) -> None:
    """Let the graph of a bundle take inputs of another size.

    Args:
        model: changed in place; input (N, C, S, S), logits (N, S, S).
        size: the new S, pixels.

    Raises:
        ExportError: the bundle holds an answer for inputs of its present size.
    """
    if any(entry.key == REFERENCE_KEY for entry in model.metadata_props):
        raise ExportError(
            "input_size cannot be changed in an int8 bundle, which holds the answer that it must "
            "give to an input of its size: change the float bundle and quantize that"
        )
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim[-2:]:
            if side.WhichOneof("value") == "dim_value":
                side.dim_value = size
    del model.graph.value_info[:]  # shapes at the former size; nothing needs them


def check_runs(data: bytes, size: int) -> None:
    """Predict once with a bundle.

    Args:
        data: a whole bundle.
        size: of its input, pixels.

    Raises:
        ExportError: it does not run, as when a part of the graph is made for another size.
    """
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.onnx"
        candidate.write_bytes(data)
        try:
            load_predictor(candidate).warm_up()
        except ClickcutError as error:
            raise ExportError(
                f"the graph does not run with input_size={size} ({error}); if a part of it is made "
                f"for another size, export the checkpoint again with --size {size}"
            ) from error
