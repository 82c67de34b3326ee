"""The CUDA calls needed to run a plan, through the package `cuda-bindings`.

Device 0 is used; choose another with the environment variable CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import BackendError


def runtime() -> ModuleType:
    """Return the CUDA runtime's Python module.

    Raises:
        BackendError: it is not installed.
    """
    try:
        module = importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise BackendError(
            "the CUDA bindings are not installed: pip install 'clickcut[tensorrt]'"
        ) from error
    return module


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the runtime and return its value, or a tuple of several.

    Raises:
        BackendError: the bindings are not installed, or CUDA reports an error.
    """
    module = runtime()
    status, *values = getattr(module, name)(*arguments)
    if status != module.cudaError_t.cudaSuccess:
        hint = _HINTS.get(status.name)
        raise BackendError(f"CUDA: {hint or f'{name} failed'} ({status.name})")
    return values[0] if len(values) == 1 else tuple(values)


_HINTS = {
    "cudaErrorInsufficientDriver": "there is no NVIDIA driver, or it is too old: install one",
    "cudaErrorNoDevice": "no NVIDIA GPU is visible: is CUDA_VISIBLE_DEVICES right?",
    "cudaErrorMemoryAllocation": "GPU memory is full: serve fewer models or lower --max-batch",
}


def compute_capability() -> str:
    """Return the compute capability of device 0, such as "8.9".

    Raises:
        BackendError: there is no GPU, or no driver.
    """
    attributes = runtime().cudaDeviceAttr
    major, minor = (
        call("cudaDeviceGetAttribute", attribute, 0)
        for attribute in (
            attributes.cudaDevAttrComputeCapabilityMajor,
            attributes.cudaDevAttrComputeCapabilityMinor,
        )
    )
    return f"{major}.{minor}"


class Stream:
    """A queue of work on the GPU; freed with the object.

    Attributes:
        handle: as CUDA and TensorRT take it.
    """

    def __init__(self) -> None:
        stream = call("cudaStreamCreateWithFlags", runtime().cudaStreamNonBlocking)
        self.handle = int(stream)
        _free_with(self, "cudaStreamDestroy", self.handle)

    def synchronise(self) -> None:
        """Wait until all its work is done."""
        call("cudaStreamSynchronize", self.handle)


class Pair:
    """An array in pinned host memory and its buffer on the GPU; both freed with the object.

    Args:
        shape: of the array, float32.

    Attributes:
        host: `shape` float32, pinned, so that copies need no staging buffer.
        device: address on the GPU.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._nbytes = 4 * int(np.prod(shape))
        address = int(call("cudaHostAlloc", self._nbytes, 0))
        _free_with(self, "cudaFreeHost", address)
        values = (ctypes.c_float * (self._nbytes // 4)).from_address(address)
        self.host: NDArray[np.float32] = np.ctypeslib.as_array(values).reshape(shape)
        self.host[:] = 0
        self.device = int(call("cudaMalloc", self._nbytes))
        _free_with(self, "cudaFree", self.device)

    def upload(self, stream: Stream) -> None:
        """Queue a copy from host to GPU."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyHostToDevice
        address = self.host.ctypes.data
        call("cudaMemcpyAsync", self.device, address, self._nbytes, kind, stream.handle)

    def download(self, stream: Stream) -> None:
        """Queue a copy from GPU to host."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
        address = self.host.ctypes.data
        call("cudaMemcpyAsync", address, self.device, self._nbytes, kind, stream.handle)


class Graph:
    """Work that was queued once and is launched as a whole; freed with the object.

    Args:
        stream: to record on; no other thread uses it meanwhile.
        queue: queues the work on it. It has run before, so nothing is left to be set up.

    Raises:
        BackendError: the work cannot be recorded; the stream is as it was.
    """

    def __init__(self, stream: Stream, queue: Callable[[], None]) -> None:
        mode = runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream.handle, mode)
        try:
            queue()
        finally:  # also after an error: a recording stream executes nothing
            graph = call("cudaStreamEndCapture", stream.handle)
        try:
            self._executable = call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)
        _free_with(self, "cudaGraphExecDestroy", self._executable)

    def launch(self, stream: Stream) -> None:
        """Queue all of it."""
        call("cudaGraphLaunch", self._executable, stream.handle)


def _free_with(owner: object, name: str, handle: Any) -> None:
    """Free a handle with its owner; at the end of the process the driver frees it."""
    weakref.finalize(owner, getattr(runtime(), name), handle).atexit = False
