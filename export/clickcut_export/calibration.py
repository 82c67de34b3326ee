"""Ranges of every value in a graph, measured on the network's real inputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from clickcut_export.errors import ExportError
from clickcut_export.graph import INPUT
from clickcut_export.parity import Batch

OPERATORS = ("Conv", "Relu", "Clip", "Add", "MaxPool")
"""Kinds of operators that are quantised. Others are a small part of the time: resizing, pooling to
one value, the score's enlargement."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs one after the other, as ONNX Runtime's calibration asks for them."""

    def __init__(self, inputs: Sequence[Batch]) -> None:
        self._left: Iterator[Batch] = iter(inputs)

    def get_next(self) -> dict[str, Batch] | None:
        """The next input; None at the end."""
        batch = next(self._left, None)
        return None if batch is None else {INPUT: batch}


class Quantiser:
    """Quantises one float graph in several ways from one calibration.

    Args:
        model: the float graph; not changed.
        inputs: (1, C, S, S) float32 each.
        folder: for files in between.
        symmetric: for TensorRT: activations as signed int8 around 0. False: for CPUs, activations
            as uint8 with a zero point and weights of 7 bits. CPUs multiply these fastest, and the
            sum of two such products fits into the 16 bits that processors without VNNI have for it,
            so they give the same answer everywhere.
    """

    def __init__(
        self, model: onnx.ModelProto, inputs: Sequence[Batch], folder: Path, symmetric: bool
    ) -> None:
        self._float, self._ranges = folder / "float.onnx", folder / "ranges.json"
        self._out = folder / "quantised.onnx"
        self._inputs = inputs
        self._symmetric = symmetric
        onnx.save(model, str(self._float))

    def quantise(self, keep_float: Sequence[str]) -> onnx.ModelProto:
        """The graph with QDQ pairs: per-channel int8 weights, per-tensor activations.

        Args:
            keep_float: names of nodes that stay as they are.

        Raises:
            ExportError: ONNX Runtime cannot quantise this graph.
        """
        options: dict[str, Any] = {
            # Without it an activation whose neighbour stays float would be lost.
            "QDQKeepRemovableActivations": True,
            "ActivationSymmetric": self._symmetric,
            "QuantizeBias": not self._symmetric,  # TensorRT wants biases in float
        }
        try:
            with _quiet():
                quantize_static(
                    str(self._float),
                    str(self._out),
                    None if self._ranges.exists() else _Reader(self._inputs),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QInt8 if self._symmetric else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    reduce_range=not self._symmetric,
                    op_types_to_quantize=list(OPERATORS),
                    nodes_to_exclude=list(keep_float),
                    calibrate_method=CalibrationMethod.MinMax,
                    calibration_cache_path=str(self._ranges),
                    extra_options=options,
                )
        except (ValueError, RuntimeError, AttributeError, KeyError) as error:
            raise ExportError(f"ONNX Runtime cannot quantise this graph: {error}") from error
        except TypeError as error:  # an argument that older versions do not have
            raise ExportError(
                f"ONNX Runtime {onnxruntime.__version__} cannot quantise this graph ({error}); "
                "install a newer one: 1.32 is known to work"
            ) from error
        model = onnx.load(str(self._out))
        del model.metadata_props[:]
        return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice on preprocessing, which the exporter has done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
