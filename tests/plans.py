"""Plans for tests: really built, and a stand-in for the GPU that would run them."""

from __future__ import annotations

import ctypes
import enum
import hashlib
import importlib
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from clickcut.bundle.file import read_bundle
from clickcut.bundle.plan import PlanDescription, sidecar_of

FLAVOURS = ("tensorrt", "tensorrt_rtx")


def describe(plan: Path, bundle: Path, **facts: Any) -> Path:
    """Write the description of a plan beside it."""
    given = {
        "flavour": "tensorrt",
        "version": "10.9.0.34",
        "compute_capabilities": ("8.9",),
        "precision": "fp32",
        "plan_sha256": hashlib.sha256(plan.read_bytes()).hexdigest(),
        "profile": {"batch": (1, 2, 5), "size": (64, 64, 64)},
    }
    description = PlanDescription.model_validate(
        {"metadata": read_bundle(bundle).metadata, "tensorrt": given | facts}
    )
    sidecar_of(plan).write_text(description.model_dump_json(indent=1))
    return plan


def build_plan(bundle: Path, plan: Path, flavour: str, capability: str) -> Path:
    """Build a bundle whose batch is symbolic; `tensorrt` needs a GPU for that."""
    trt = importlib.import_module(flavour)
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(bundle.read_bytes()), parser.get_error(0)
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    value = network.get_input(0)
    sides = [(n, *value.shape[1:]) for n in (1, 2, 5)]
    profile.set_shape(value.name, *sides)
    config.add_optimization_profile(profile)
    if flavour == "tensorrt_rtx":
        config.num_compute_capabilities = 1
        wanted = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
        config.set_compute_capability(wanted, 0)
    plan.write_bytes(builder.build_serialized_network(network, config))
    size = read_bundle(bundle).metadata.input_size
    return describe(
        plan,
        bundle,
        flavour=flavour,
        version=trt.__version__,
        compute_capabilities=(capability,),
        profile={"batch": (1, 2, 5), "size": (size, size, size)},
    )


class Status(enum.Enum):
    cudaSuccess = 0  # noqa: N815 - CUDA's names
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorStreamCaptureInvalidated = 901  # noqa: N815


class FakeCuda:
    """CUDA's runtime as `clickcut.backends.cuda` calls it, with a stream that works at once.

    Attributes:
        held: what is allocated, by handle.
        launches: how often a recorded graph was launched.
    """

    cudaError_t = Status  # noqa: N815 - CUDA's names
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaDeviceAttr = SimpleNamespace(  # noqa: N815
        cudaDevAttrComputeCapabilityMajor=0, cudaDevAttrComputeCapabilityMinor=1
    )
    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down"
    )
    cudaStreamCaptureMode = SimpleNamespace(  # noqa: N815
        cudaStreamCaptureModeThreadLocal="local"
    )

    def __init__(self, capability: tuple[int, int] = (8, 9)) -> None:
        self.capability = capability
        self.held: dict[int, Any] = {}
        self.launches = 0
        self.memory = 10**9
        self.recording: list[Any] | None = None
        self._handles = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("cudaFree", "cudaStreamDestroy", "cudaGraphExecDestroy")):
            return lambda handle: (self.held.pop(handle), (Status.cudaSuccess,))[1]
        raise AttributeError(name)

    def submit(self, work: Any) -> None:
        """Do it, or record it."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def _hold(self, thing: Any) -> tuple[Status, int]:
        handle = next(self._handles)
        self.held[handle] = thing
        return Status.cudaSuccess, handle

    def cudaDeviceGetAttribute(self, attribute, device):  # noqa: N802
        return Status.cudaSuccess, self.capability[attribute]

    def cudaMemGetInfo(self):  # noqa: N802
        return Status.cudaSuccess, self.memory, self.memory

    def cudaStreamCreateWithFlags(self, flags):  # noqa: N802
        return self._hold("stream")

    def cudaStreamSynchronize(self, stream):  # noqa: N802
        assert self.held[stream] == "stream"
        return (Status.cudaSuccess,)

    def _allocate(self, nbytes):
        if nbytes > self.memory:
            return Status.cudaErrorMemoryAllocation, None
        memory = ctypes.create_string_buffer(b"\x7f" * nbytes, nbytes)
        address = ctypes.addressof(memory)
        self.held[address] = memory
        return Status.cudaSuccess, address

    def cudaMalloc(self, nbytes):  # noqa: N802
        return self._allocate(nbytes)

    def cudaHostAlloc(self, nbytes, flags):  # noqa: N802
        return self._allocate(nbytes)

    def cudaMemcpyAsync(self, to, start, nbytes, kind, stream):  # noqa: N802
        assert self.held[stream] == "stream"
        for address in (to, start):
            assert nbytes == len(self.held[address])
        self.submit(lambda: ctypes.memmove(to, start, nbytes))
        return (Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream, mode):  # noqa: N802
        assert self.recording is None
        self.recording = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):  # noqa: N802
        recorded, self.recording = self.recording, None
        if recorded is None or "cannot be recorded" in recorded:
            return Status.cudaErrorStreamCaptureInvalidated, None
        return self._hold(recorded)

    def cudaGraphInstantiate(self, graph, flags):  # noqa: N802
        return self._hold(self.held[graph])

    def cudaGraphDestroy(self, graph):  # noqa: N802
        del self.held[graph]
        return (Status.cudaSuccess,)

    def cudaGraphLaunch(self, executable, stream):  # noqa: N802
        self.launches += 1
        for work in self.held[executable]:
            work()
        return (Status.cudaSuccess,)


class FakeTensorRT:
    """TensorRT's Python module with one network: the mean over the channels.

    Args:
        gpu: where the tensors lie.
        recordable: whether its work can be recorded.
    """

    __version__ = "10.9.0.34"
    float32 = "float32"
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")

    class Logger:
        WARNING = 2

        def __init__(self, severity: int) -> None:
            pass

    def __init__(self, gpu: FakeCuda, recordable: bool = True) -> None:
        self.gpu = gpu
        self.recordable = recordable
        self.contexts: list[FakeContext] = []

    def Runtime(self, logger):  # noqa: N802
        return SimpleNamespace(deserialize_cuda_engine=self._engine)

    def _engine(self, data):
        return None if data == b"cannot be loaded" else FakeEngine(self)


class FakeEngine:
    num_io_tensors = 2

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.config: Any = None

    def get_tensor_name(self, k):
        return ("x", "logits")[k]

    def get_tensor_mode(self, name):
        return {"x": "in", "logits": "out"}[name]

    def get_tensor_dtype(self, name):
        return "float32"

    def get_tensor_shape(self, name):
        return (-1, 6, 64, 64)

    def create_runtime_config(self):
        return SimpleNamespace(cuda_graph_strategy="disabled")

    def create_execution_context(self, config=None):
        context = FakeContext(self._trt, config)
        self._trt.contexts.append(context)
        return context


class FakeContext:
    """Computes with what lies at the addresses that it was given."""

    def __init__(self, trt: FakeTensorRT, config: Any) -> None:
        self._trt = trt
        self.config = config
        self.shape: tuple[int, ...] = ()
        self._at: dict[str, int] = {}

    def set_input_shape(self, name, shape):
        self.shape = shape
        return True

    def get_tensor_shape(self, name):
        return (self.shape[0], *self.shape[2:])

    def set_tensor_address(self, name, address):
        self._at[name] = address
        return True

    def execute_async_v3(self, stream):
        gpu = self._trt.gpu

        def work():
            x = np.frombuffer(gpu.held[self._at["x"]], np.float32).reshape(self.shape)
            out = np.ascontiguousarray(x.mean(1, dtype=np.float32))
            ctypes.memmove(self._at["logits"], out.ctypes.data, out.nbytes)

        gpu.submit(work)
        if gpu.recording is not None and not self._trt.recordable:
            gpu.recording.append("cannot be recorded")
            return False
        return True
