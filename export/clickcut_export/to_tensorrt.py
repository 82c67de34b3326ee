"""A bundle -> a TensorRT plan and, beside it, its description.

`tensorrt` is used where it is installed, and builds for the GPU of this machine. `tensorrt-rtx`
needs no GPU to build and builds for any set of compute capabilities. Both take the types of the
graph as they are: an fp16 or int8 plan comes from an fp16 or int8 bundle.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import onnx
from onnx import TensorProto
from pydantic import ValidationError

from clickcut.bundle import BundleMetadata, faults_of
from clickcut.bundle.file import read_bundle
from clickcut.bundle.plan import PACKAGES, PlanDescription, PlanFacts, Profile, sidecar_of
from clickcut_export.errors import ExportError
from clickcut_export.graph import INPUT, constant, load_graph, write_file

Bounds = tuple[int, int, int]
"""Least, best and largest value of a dimension."""

Precision = Literal["fp32", "fp16", "int8"]

CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
"""Compute capabilities that tensorrt-rtx builds for when none is given: Ampere, Ada, Blackwell."""


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is built.

    Attributes:
        batch: bounds of the batch size, where the bundle's is symbolic.
        size: bounds of S, pixels, where the bundle's is symbolic; None: its metadata's only.
        capabilities: such as "8.9"; for tensorrt-rtx. None: `CAPABILITIES`.
        flavour: module that builds; None: `tensorrt` where it is installed, else `tensorrt_rtx`.
        timing_cache: file that keeps measurements between builds; for `tensorrt`.
        workspace_mib: most scratch memory of a layer.
    """

    batch: Bounds = (1, 1, 8)
    size: Bounds | None = None
    capabilities: tuple[str, ...] | None = None
    flavour: str | None = None
    timing_cache: Path | None = None
    workspace_mib: int = 1024


def build_plan(
    bundle: Path,
    output: Path,
    options: PlanOptions,
    say: Callable[[str], None] = lambda _: None,
) -> PlanDescription:
    """Build a plan and write it with its description, `OUTPUT.json`.

    Args:
        bundle: float32, fp16, or int8 quantised for TensorRT.
        output: the plan.
        options: of the build.
        say: called with TensorRT's warnings.

    Raises:
        BundleError: `bundle` is not one.
        ExportError: no TensorRT is installed, it refuses the graph, or an option does not fit.
    """
    model, metadata = load_graph(bundle)
    precision = precision_of(model, bundle)
    profile = _profile(model, metadata, options)
    module = load_flavour(options.flavour)
    build = _Build(module, say)
    read = read_bundle(bundle)
    build.parse(read.data, bundle)
    capabilities = build.configure(options, precision)
    build.add_profile(profile, len(metadata.channels))
    plan = build.run(options.timing_cache)
    description = PlanDescription(
        metadata=metadata,
        tensorrt=PlanFacts(
            flavour=module.__name__,  # type: ignore[arg-type]
            version=module.__version__,
            compute_capabilities=capabilities,
            precision=precision,
            plan_sha256=hashlib.sha256(plan).hexdigest(),
            profile=profile,
        ),
        reference=read.reference,
    )
    write_file(output, plan)
    write_file(sidecar_of(output), description.model_dump_json(indent=1).encode())
    return description


def load_flavour(name: str | None) -> ModuleType:
    """The module of a TensorRT; the first that is installed when `name` is None.

    Raises:
        ExportError: an unknown name, or not installed.
    """
    names = list(PACKAGES) if name is None else [name]
    for candidate in names:
        if candidate not in PACKAGES:
            raise ExportError(f"{candidate}: unknown; there are {', '.join(PACKAGES)}")
        try:
            return importlib.import_module(candidate)
        except ImportError:
            continue
    wanted = " or ".join(PACKAGES[n] for n in names)
    raise ExportError(
        f"{wanted} is not installed: pip install 'clickcut[tensorrt]' "
        "(tensorrt-rtx builds without a GPU)"
    )


def precision_of(model: onnx.ModelProto, where: Path) -> Precision:
    """What a graph computes in.

    Raises:
        ExportError: it is quantised in a way that TensorRT does not take.
    """
    quantisers = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    for node in quantisers:
        zero = constant(model, node.input[2]) if len(node.input) > 2 else None
        if zero is not None and (zero.dtype != "int8" or zero.any()):
            raise ExportError(
                f"{where}: its activations are quantised for CPUs, as {zero.dtype} with a zero "
                "point; TensorRT wants int8 around 0: clickcut export quantize --target tensorrt"
            )
    if quantisers:
        return "int8"
    types = {tensor.data_type for tensor in model.graph.initializer}
    return "fp16" if TensorProto.FLOAT16 in types else "fp32"


def _profile(model: onnx.ModelProto, metadata: BundleMetadata, options: PlanOptions) -> Profile:
    """Bounds of batch and size, narrowed to what the graph takes."""
    batch, _, rows, columns = model.graph.input[0].type.tensor_type.shape.dim
    size = options.size or (metadata.input_size,) * 3
    if size[0] % 32 or size[1] % 32 or size[2] % 32:
        raise ExportError(f"size {size}: each must be a multiple of 32")
    if not size[0] <= metadata.input_size <= size[2]:
        raise ExportError(f"size {size}: does not hold the bundle's own {metadata.input_size}")
    fixed = rows.dim_value or columns.dim_value
    if fixed and set(size) != {fixed}:
        raise ExportError(
            f"size {size}: the bundle takes {fixed} only; export it with --dynamic for others"
        )
    bounds = (batch.dim_value,) * 3 if batch.dim_value else options.batch
    try:
        return Profile(batch=bounds, size=size)
    except ValidationError as error:
        raise ExportError(f"profile: {faults_of(error)}") from error


class _Build:
    """One build, step by step.

    Args:
        module: `tensorrt` or `tensorrt_rtx`.
        say: called with warnings.
    """

    def __init__(self, module: ModuleType, say: Callable[[str], None]) -> None:
        self._trt = module
        self._is_rtx = module.__name__ == "tensorrt_rtx"
        self._errors: list[str] = []
        self._logger = _logger(module, self._errors, say)
        try:
            self._builder: Any = module.Builder(self._logger)
        except (TypeError, RuntimeError) as error:  # pybind: the factory returned nullptr
            raise self._failure("cannot start; does this machine have an NVIDIA GPU?") from error
        flag = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self._network: Any = self._builder.create_network(flag)
        self._config: Any = self._builder.create_builder_config()

    def _failure(self, what: str) -> ExportError:
        why = f" ({'; '.join(self._errors[:3])})" if self._errors else ""
        return ExportError(f"{PACKAGES[self._trt.__name__]} {self._trt.__version__} {what}{why}")

    def parse(self, data: bytes, where: Path) -> None:
        """Read the graph."""
        self._errors.clear()
        parser = self._trt.OnnxParser(self._network, self._logger)
        if not parser.parse(data):
            found = [parser.get_error(k) for k in range(parser.num_errors)]
            self._errors[:] = [f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in found]
            raise self._failure(f"does not take the graph of {where}")

    def configure(self, options: PlanOptions, precision: Precision) -> tuple[str, ...]:
        """Set limits and GPUs; returns the compute capabilities."""
        self._errors.clear()
        trt, config = self._trt, self._config
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        if precision == "fp32":  # or else multiplications would have 10 bits of mantissa
            config.clear_flag(trt.BuilderFlag.TF32)
        if not self._is_rtx:
            return self._configure_tensorrt(options)
        if options.timing_cache is not None:
            raise ExportError("tensorrt-rtx measures nothing at build time: leave --timing-cache")
        wanted = options.capabilities or CAPABILITIES
        offered = {
            f"{name[2:-1]}.{name[-1]}": value
            for name, value in trt.ComputeCapability.__members__.items()
            if name.startswith("SM")
        }
        if unknown := [c for c in wanted if c not in offered]:
            raise ExportError(
                f"compute capability {', '.join(unknown)}: tensorrt-rtx builds for "
                f"{', '.join(offered)}"
            )
        config.num_compute_capabilities = len(wanted)
        for index, name in enumerate(wanted):
            if not config.set_compute_capability(offered[name], index):
                raise self._failure(f"does not build for compute capability {name} with {wanted}")
        return wanted

    def _configure_tensorrt(self, options: PlanOptions) -> tuple[str, ...]:
        from clickcut.backends.cuda import compute_capability

        own = compute_capability()
        if options.capabilities not in (None, (own,)):
            raise ExportError(
                f"tensorrt builds for the GPU of this machine, {own}; for others use "
                "--flavour tensorrt_rtx"
            )
        path = options.timing_cache
        try:
            blob = path.read_bytes() if path is not None and path.exists() else b""
        except OSError as error:
            raise ExportError(f"{path}: cannot be read ({error.strerror})") from error
        cache = self._config.create_timing_cache(blob)
        if cache is None or not self._config.set_timing_cache(cache, ignore_mismatch=False):
            raise self._failure(f"does not take the timing cache {path}; delete it")
        return (own,)

    def add_profile(self, profile: Profile, channels: int) -> None:
        """Say which shapes the plan is for."""
        shapes = [
            (batch, channels, size, size)
            for batch, size in zip(profile.batch, profile.size, strict=True)
        ]
        chosen = self._builder.create_optimization_profile()
        chosen.set_shape(INPUT, *shapes)
        if self._config.add_optimization_profile(chosen) < 0:
            raise self._failure(f"does not take the profile {shapes}")

    def run(self, timing_cache: Path | None) -> bytes:
        """Build; the plan's bytes."""
        self._errors.clear()
        plan = self._builder.build_serialized_network(self._network, self._config)
        if plan is None:
            raise self._failure("could not build the plan")
        if timing_cache is not None:
            write_file(timing_cache, bytes(self._config.get_timing_cache().serialize()))
        return bytes(plan)


def _logger(module: ModuleType, errors: list[str], say: Callable[[str], None]) -> Any:
    """A logger of TensorRT that keeps errors and tells warnings."""

    class Logger(module.ILogger):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                errors.append(message)
            elif severity == module.ILogger.WARNING:
                say(message)

    return Logger()
