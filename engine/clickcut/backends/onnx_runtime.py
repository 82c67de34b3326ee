"""ONNX Runtime: on the CPU, or on an NVIDIA GPU by its CUDA or TensorRT execution provider."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.backends.base import check_first_prediction, check_reference_answer
from clickcut.backends.saturation import saturates
from clickcut.bundle import BATCH
from clickcut.bundle.file import read_bundle
from clickcut.errors import BackendError, BundleError, printable
from clickcut.processor import available_cores

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"

PROVIDERS = {
    "onnxruntime-cpu": _CPU,
    "onnxruntime-cuda": _CUDA,
    "onnxruntime-tensorrt": _TENSORRT,
}
"""ONNX Runtime's names of the back-ends."""

_INSTALL = {
    _CPU: "pip install 'clickcut[cpu]'",
    _CUDA: "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'",
    _TENSORRT: "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt",
}

_UNSUPPORTED = ("not a registered function/op", "No Op registered for", "NOT_IMPLEMENTED")
"""Parts of ONNX Runtime's messages about an unsupported operator."""


def check_provider(backend: str) -> Any:
    """Return the module `onnxruntime` after checking that it offers a back-end.

    Raises:
        BackendError: it is not installed, was built without, or lacks a library or a GPU; the
            message says what to install.
    """
    provider = PROVIDERS[backend]
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "ONNX Runtime is not installed: pip install 'clickcut[cpu]' (or 'clickcut[gpu]')"
        ) from error
    if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":  # it may have been imported before clickcut
        onnxruntime.disable_telemetry_events()
    offered = onnxruntime.get_available_providers()
    if provider not in offered:
        raise BackendError(
            f"the back-end {backend} is not available: the ONNX Runtime that is installed has only "
            f"{', '.join(offered)}; {_INSTALL[provider]} (needs an NVIDIA GPU and its driver)"
        )
    if provider != _CPU:
        _probe(onnxruntime, backend)
    return onnxruntime


def _probe(onnxruntime: Any, backend: str) -> None:
    """Load a small graph: a provider that is built in may lack its libraries, or a GPU."""
    from onnxruntime.datasets import get_example

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA and cuDNN of Python packages, if they are there
    provider, reason = PROVIDERS[backend], "it fell back to the CPU"
    try:
        session = onnxruntime.InferenceSession(
            get_example("sigmoid.onnx"), providers=[provider], enable_fallback=0
        )
        if provider in session.get_providers():
            return
    except Exception as error:  # ONNX Runtime's errors share no public base class
        reason = _first_line(error)
    raise BackendError(
        f"the back-end {backend} is built in but does not work on this machine; it needs an NVIDIA "
        f"GPU, its driver and libraries: {_INSTALL[provider]} (ONNX Runtime: {reason})"
    )


def _first_line(error: Exception) -> str:
    """Return the first line of a message, printable: it may quote names from a file."""
    lines = str(error).splitlines() or [type(error).__name__]
    return printable(lines[0], 500)


_THREADING = {
    "session.intra_op.allow_spinning": "1",
    "session.force_spinning_stop": "1",
    "session.dynamic_block_base": "4",
}
"""Options of ONNX Runtime for the threads of a prediction (benchmarks/results/backends.md)."""


class OnnxPredictor:
    """A bundle in ONNX Runtime.

    Args:
        path: a bundle.
        threads: threads per prediction on the CPU; 0 = one per core that this
            process may use.
        backend: of `PROVIDERS`.
        max_batch: largest batch to prepare for. On a CPU that is prepared for 1, our exports run
            larger ones input by input.

    Raises:
        BackendError: ONNX Runtime is not installed, or not with this provider, or the provider does
            not work on this machine.
        BundleError: no such file, damaged, not an ONNX model, not a clickcut bundle, operators that
            ONNX Runtime does not support, a graph that does not fit its metadata, or another answer
            than the bundle's reference answer.
    """

    def __init__(
        self, path: Path, threads: int = 0, backend: str = "onnxruntime-cpu", max_batch: int = 1
    ) -> None:
        self._runtime = check_provider(backend)
        self.backend = backend
        bundle = read_bundle(path)
        self.metadata = bundle.metadata
        self.sha256 = bundle.sha256
        self._threads = threads or available_cores()
        providers = self._providers(bundle.data, path, max_batch)
        options = self._options()
        if backend == "onnxruntime-cpu" and max_batch == 1:
            # With every shape known more layers are fused (benchmarks/results/backends.md).
            options.add_free_dimension_override_by_name(BATCH, 1)
        self._session = self._load(bundle.data, path, options, providers)
        self._check_graph(path)
        if bundle.reference is not None:
            check_reference_answer(self, bundle.reference, path)

    def _options(self) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 4  # errors come as exceptions
        # Threads spin while they wait for the next layer, which saves a prediction 1 to 2 ms,
        # but not after it: that would take the cores from the cut of other sessions. Small blocks
        # keep a thread that lags from holding up the others.
        for key, value in _THREADING.items():
            options.add_session_config_entry(key, value)
        if saturates():  # not always: where nothing saturates, int8 would run at half its speed
            options.add_session_config_entry("session.x64quantprecision", "1")
        return options

    def _load(self, data: bytes, path: Path, options: Any, providers: list[Any]) -> Any:
        try:
            # From memory: what runs is what was checked, and the graph cannot refer to other files.
            session = self._runtime.InferenceSession(
                data, options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's errors share no public base class
            reason = _first_line(error)
            if any(words in reason for words in _UNSUPPORTED):
                raise BundleError(
                    f"{path}: its graph has an operator that {self.backend} does not support "
                    f"({reason}); export the model with standard ONNX operators"
                ) from error
            raise BundleError(f"{path}: not a model that can be loaded ({reason})") from error
        session._model_bytes = None  # only needed to fall back to another provider
        return session

    def _providers(self, data: bytes, path: Path, max_batch: int) -> list[Any]:
        """Return the execution providers in order of preference."""
        if self.backend == "onnxruntime-cpu":
            return [_CPU]
        # The default, an exhaustive search for each new shape, would stall the first large batch.
        cuda = (_CUDA, {"cudnn_conv_algo_search": "HEURISTIC"})
        if self.backend == "onnxruntime-cuda":
            return [cuda, _CPU]
        return [(_TENSORRT, self._profile(data, path, max_batch)), cuda, _CPU]

    def _profile(self, data: bytes, path: Path, max_batch: int) -> dict[str, str]:
        """the profile of one engine for all batches up to `max_batch`, instead of one per size."""
        options = self._runtime.SessionOptions()
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        value = self._load(data, path, options, [_CPU]).get_inputs()[0]
        if isinstance(value.shape[0], int):
            return {}
        size, channels = self.metadata.input_size, len(self.metadata.channels)

        def shape(batch: int) -> str:
            return f"{value.name}:{batch}x{channels}x{size}x{size}"

        return {
            "trt_profile_min_shapes": shape(1),
            "trt_profile_opt_shapes": shape(max_batch),
            "trt_profile_max_shapes": shape(max_batch),
        }

    def _check_graph(self, path: Path) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        size, channels = self.metadata.input_size, len(self.metadata.channels)
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs, not 1")
        for value in (inputs[0], outputs[0]):  # others, such as sequences, have no shape
            if value.type != "tensor(float)":
                raise BundleError(
                    f"{path}: {printable(value.name, 80)!r} of the graph is {value.type}; input "
                    "and output must be float32 tensors"
                )
        shape = list(inputs[0].shape)
        # A dimension without a number is symbolic: it takes any.
        fits = len(shape) == 4 and all(
            not isinstance(given, int) or given == wanted
            for given, wanted in zip(shape[1:], (channels, size, size), strict=True)
        )
        if not fits:
            raise BundleError(
                f"{path}: the graph takes float32 {shape}, "
                f"the metadata says float32 [N, {channels}, {size}, {size}]"
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        batch, self._fixed_size = shape[0], shape[2] if isinstance(shape[2], int) else None
        self._fixed_batch: int | None = batch if isinstance(batch, int) else None

    def warm_up(self) -> None:
        """See `Predictor.warm_up`."""
        check_first_prediction(self)

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Predictor.predict`."""
        if self._fixed_size not in (None, batch.shape[2]):
            raise BundleError(
                f"model {self.metadata.name} takes {self._fixed_size} pixels, not "
                f"{batch.shape[2]}; export it with symbolic sizes for others"
            )
        step = self._fixed_batch
        if step is None or step == len(batch):
            return self._run(batch)
        if not len(batch):
            return np.empty((0, *batch.shape[2:]), np.float32)
        parts = []
        for start in range(0, len(batch), step):
            part = batch[start : start + step]
            padded = np.zeros((step, *batch.shape[1:]), np.float32)
            padded[: len(part)] = part
            parts.append(self._run(padded)[: len(part)])
        return np.concatenate(parts)

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._session.run([self._output], {self._input: batch})[0]
        return logits
