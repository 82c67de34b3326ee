"""A predictor is a bundle loaded in a back-end: network inputs in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import METADATA_KEY, BundleMetadata, parse_metadata
from clickcut.errors import BackendError, BundleError


class Predictor(Protocol):
    """What every back-end offers. Safe to call from several threads at once."""

    metadata: BundleMetadata
    backend: str

    def warm_up(self) -> None:
        """Do all that would slow down the first prediction."""

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, S, S) float32 -> logits (N, S, S) float32; see `BundleMetadata`."""


class OnnxPredictor:
    """ONNX Runtime on the CPU.

    Args:
        path: a bundle.
        threads: threads per prediction; 0 = one per core.

    Raises:
        BackendError: ONNX Runtime is not installed.
        BundleError: no such file, not an ONNX model, not one of clickcut's, or its graph does not
            fit its metadata.
    """

    backend = "onnxruntime-cpu"

    def __init__(self, path: Path, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                "ONNX Runtime is not installed: pip install 'clickcut[cpu]' (or 'clickcut[gpu]')"
            ) from error
        if not path.is_file():
            raise BundleError(f"{path}: no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin after a prediction would take the cores from the cut of other sessions.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no public base class
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BundleError(f"{path}: not a model that can be loaded ({reason})") from error
        document = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if document is None:
            raise BundleError(
                f"{path}: an ONNX model, but not a clickcut bundle (no metadata '{METADATA_KEY}')"
            )
        self.metadata = parse_metadata(document, str(path))
        self._check_graph(path)

    def _check_graph(self, path: Path) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        size, channels = self.metadata.input_size, len(self.metadata.channels)
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs, not 1")
        wanted = [channels, size, size]
        if inputs[0].type != "tensor(float)" or list(inputs[0].shape[1:]) != wanted:
            raise BundleError(
                f"{path}: the graph takes {inputs[0].type} {inputs[0].shape}, "
                f"the metadata says float32 [N, {channels}, {size}, {size}]"
            )
        self._input, self._output = inputs[0].name, outputs[0].name

    def warm_up(self) -> None:
        """See `Predictor.warm_up`."""
        size, channels = self.metadata.input_size, len(self.metadata.channels)
        logits = self.predict(np.zeros((1, channels, size, size), np.float32))
        if logits.shape != (1, size, size) or not np.isfinite(logits).all():
            raise BundleError(
                f"model {self.metadata.name}: a blank image gave an output of shape "
                f"{logits.shape} or one that is not finite; expected (1, {size}, {size})"
            )

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Predictor.predict`."""
        logits: NDArray[np.float32] = self._session.run([self._output], {self._input: batch})[0]
        return logits


def load_predictor(path: Path, threads: int = 0) -> Predictor:
    """Load a bundle in the back-end that is installed; arguments and errors as `OnnxPredictor`."""
    return OnnxPredictor(path, threads)
