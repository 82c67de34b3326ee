"""TensorRT plans, run by `tensorrt` or `tensorrt_rtx`, whichever built them.

Concurrency: a *lane* holds what one batch size needs (execution context, stream, pinned and device
buffers, recorded graph) and serves one thread at a time under its lock. Batches are padded to the
next power of two, so there are few lanes; lanes of different sizes run at the same time.

The work of a lane (copy in, network, copy out) is recorded as a CUDA graph and launched with one
call. TensorRT-RTX compiles kernels lazily and records graphs itself, so there only its option
is set (NVIDIA, "Working with RTX CUDA Graphs").
"""

from __future__ import annotations

import importlib
import logging
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import cuda
from clickcut.backends.base import check_first_prediction, check_reference_answer
from clickcut.bundle.plan import PACKAGES, Plan, check_capability, check_version, read_plan
from clickcut.errors import BackendError, BundleError
from clickcut.installation import installed

_log = logging.getLogger(__name__)


def check_available() -> None:
    """Check that plans can run here.

    Raises:
        BackendError: no TensorRT, no CUDA bindings, or no GPU; the message says what to install.
    """
    if not any(installed(flavour) for flavour in PACKAGES):
        raise BackendError(
            "the back-end tensorrt is not available: TensorRT is not installed; "
            "pip install 'clickcut[tensorrt]' (or tensorrt-rtx for plans that it built)"
        )
    try:
        cuda.compute_capability()
    except BackendError as error:
        raise BackendError(f"the back-end tensorrt is not available: {error}") from error


def _module(plan: Plan) -> ModuleType:
    flavour = plan.facts.flavour
    try:
        return importlib.import_module(flavour)
    except (ImportError, OSError) as error:  # OSError: its shared libraries are missing
        raise BackendError(
            f"{plan.path}: needs {flavour}, which is not installed: "
            f"pip install '{PACKAGES[flavour]}=={plan.facts.version}'"
        ) from error


class TensorRTPredictor:
    """A plan loaded on device 0.

    Args:
        path: the plan, its description beside it.

    Raises:
        BackendError: TensorRT is not installed or of another version, no GPU, a GPU that the plan
            was not built for.
        BundleError: a file is missing or damaged, the plan does not fit its description, or
            it gives another answer than the description's reference answer.
    """

    backend = "tensorrt"

    def __init__(self, path: Path) -> None:
        plan = read_plan(path)
        self.metadata = plan.metadata
        self.sha256 = plan.facts.plan_sha256
        self._profile = plan.facts.profile
        self._trt = _module(plan)
        check_version(plan, self._trt.__version__)
        check_capability(plan, cuda.compute_capability())
        self._records_itself = plan.facts.flavour == "tensorrt_rtx"
        self._logger = self._trt.Logger(self._trt.Logger.WARNING)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan.data)
        if self._engine is None:
            raise BundleError(f"{path}: TensorRT cannot load the plan; its log says why")
        self._input, self._output = self._tensors(path)
        self._lanes: dict[tuple[int, int], _Lane] = {}
        self._lock = threading.Lock()
        if plan.reference is not None:
            check_reference_answer(self, plan.reference, path)

    def _tensors(self, path: Path) -> tuple[str, str]:
        """Return names of the input and the output."""
        engine, modes = self._engine, self._trt.TensorIOMode
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == modes.INPUT]
        outputs = [n for n in names if engine.get_tensor_mode(n) == modes.OUTPUT]
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs, not 1")
        for name in names:
            if engine.get_tensor_dtype(name) != self._trt.float32:
                raise BundleError(f"{path}: tensor {name!r} is not float32; build the plan again")
        shape, channels = tuple(engine.get_tensor_shape(inputs[0])), len(self.metadata.channels)
        if len(shape) != 4 or shape[1] != channels:
            raise BundleError(
                f"{path}: the plan takes {shape}, the metadata says [N, {channels}, S, S]"
            )
        return inputs[0], outputs[0]

    def warm_up(self) -> None:
        """See `Predictor.warm_up`; prepares every batch size."""
        check_first_prediction(self)
        size, channels = self.metadata.input_size, len(self.metadata.channels)
        most = self._profile.batch[2]
        for batch in {self._padded(n) for n in range(1, most + 1)}:
            self.predict(np.zeros((batch, channels, size, size), np.float32))

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Predictor.predict`."""
        size, (low, _, high) = batch.shape[2], self._profile.size
        if not low <= size <= high:
            raise BundleError(
                f"model {self.metadata.name} takes {low} to {high} pixels, not {size}"
            )
        most = self._profile.batch[2]
        if len(batch) <= most:
            return self._lane(self._padded(len(batch)), size).run(batch)
        parts = [batch[start : start + most] for start in range(0, len(batch), most)]
        return np.concatenate([self._lane(self._padded(len(p)), size).run(p) for p in parts])

    def _padded(self, batch: int) -> int:
        """Return the batch size that a batch is brought to: a power of two within the profile."""
        low, _, high = self._profile.batch
        return max(low, min(high, 1 << (batch - 1).bit_length()))

    def _lane(self, batch: int, size: int) -> _Lane:
        with self._lock:
            if (batch, size) not in self._lanes:
                shape = batch, len(self.metadata.channels), size, size
                self._lanes[batch, size] = _Lane(
                    self._context(), self._input, self._output, shape, not self._records_itself
                )
            return self._lanes[batch, size]

    def _context(self) -> Any:
        if self._records_itself:
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise BackendError("TensorRT cannot make an execution context: is GPU memory full?")
        return context


class _Lane:
    """What one batch size needs; one thread at a time.

    Args:
        context: an execution context, not shared.
        input_name: of the plan's input.
        output_name: of its output.
        shape: of the input, (N, C, S, S).
        record: whether to launch the work as a recorded graph.
    """

    def __init__(
        self,
        context: Any,
        input_name: str,
        output_name: str,
        shape: tuple[int, int, int, int],
        record: bool,
    ) -> None:
        self._lock = threading.Lock()
        self._context = context
        self._stream = cuda.Stream()
        batch, _, height, width = shape
        self._in, self._out = cuda.Pair(shape), cuda.Pair((batch, height, width))
        if not context.set_input_shape(input_name, shape):
            raise BundleError(f"the plan does not take an input of shape {shape}; its log says why")
        produced = tuple(context.get_tensor_shape(output_name))
        if produced != (batch, height, width):
            raise BundleError(f"the plan gives {produced}, expected {(batch, height, width)}")
        context.set_tensor_address(input_name, self._in.device)
        context.set_tensor_address(output_name, self._out.device)
        self._record = record
        self._graph: cuda.Graph | None = None

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C, S, S) float32 with n <= N -> (n, S, S) float32."""
        with self._lock:
            # What lies behind is left from before; its results are dropped.
            self._in.host[: len(batch)] = batch
            if self._graph is not None:
                self._graph.launch(self._stream)
            else:
                self._queue()
            self._stream.synchronise()
            logits = self._out.host[: len(batch)].copy()
            if self._record:
                self._record = False
                self._try_to_record()
            return logits

    def _queue(self) -> None:
        self._in.upload(self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise BackendError("TensorRT could not run the plan; its log says why")
        self._out.download(self._stream)

    def _try_to_record(self) -> None:
        """Once the work has run as it is; some layers cannot be recorded, then it stays so."""
        try:
            self._graph = cuda.Graph(self._stream, self._queue)
        except BackendError as error:
            _log.info("the plan runs without a CUDA graph: %s", error)
