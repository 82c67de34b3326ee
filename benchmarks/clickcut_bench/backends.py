"""`clickcut bench backends`: every available back-end x bundle x size, the network alone.

Each case runs in a process of its own, so that its memory is its own and no case warms another. The
input is that of a session: the packaged photograph, a click, no previous probability. Beside each
bundle on the CPU stands ONNX Runtime used directly, with its default options, on the same input.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import BACKENDS, Predictor, load_predictor, takes, why_unavailable
from clickcut.bundle import bundled_models
from clickcut.bundle.repository import read_model
from clickcut.commands.demo import packaged_photograph
from clickcut.errors import BackendError, ClickcutError
from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.session.network_input import NetworkInput
from clickcut_bench.backends_report import plot, show
from clickcut_bench.batching import compare
from clickcut_eval.machine import describe

DIRECT = "onnxruntime, direct"
"""Name of the comparison: ONNX Runtime without this project."""

CALLERS = 4
"""Threads that predict at once where merging is measured."""

SECONDS = 8.0
"""A measurement ends after this time, however many repeats are left."""


@dataclass(frozen=True)
class Case:
    """What is measured together.

    Attributes:
        path: of the bundle or plan.
        backend: of `BACKENDS`, or `DIRECT`.
        size: S, pixels; None = the model's own.
        batches: batch sizes for the throughput.
        repeats: predictions for the percentiles at most.
        threads: per prediction; 0 = one per core.
    """

    path: Path
    backend: str
    size: int | None
    batches: tuple[int, ...]
    repeats: int
    threads: int


def session_input(path: Path, size: int | None) -> NDArray[np.float32]:
    """(1, C, S, S) float32, the network's input after a first click."""
    metadata = read_model(path).metadata
    pixels, mask = packaged_photograph()
    shaped = NetworkInput(metadata.model_copy(update={"input_size": size} if size else {}))
    y, x = (int(v) for v in np.argwhere(mask).mean(0))
    whole = Region(0, 0, pixels.shape[1], pixels.shape[0])
    shaped.show(prepare_pixels(pixels), whole, [(x, y)], [], None)
    return shaped.buffer


# ---- one case, in its own process


def measure(case: Case) -> dict[str, Any]:
    """Load, warm up, measure.

    Raises:
        ClickcutError: the back-end or this size cannot be used with this model.
    """
    import psutil  # type: ignore[import-untyped]

    one = session_input(case.path, case.size)
    process = psutil.Process()
    before, gpu_before = process.memory_info().rss, _gpu_used()
    began = time.perf_counter()
    if case.backend == DIRECT:
        predict = _direct(case)
        predict(one)
        predictor = None
    else:
        # As it is served: a CPU is prepared for single inputs, a GPU for batches.
        most = 1 if case.backend == "onnxruntime-cpu" else max(case.batches)
        predictor = load_predictor(case.path, case.threads, case.backend, most)
        predictor.warm_up()
        predict = predictor.predict
    loaded = time.perf_counter() - began
    spent = list(timed(lambda: predict(one), case.repeats))
    held = process.memory_info().rss - before
    in_batches = predict
    if case.backend == "onnxruntime-cpu" and max(case.batches) > 1:
        batching = load_predictor(case.path, case.threads, case.backend, max(case.batches))
        in_batches = batching.predict
    result: dict[str, Any] = {
        "memory_mib": held / 2**20,
        "load_ms": 1e3 * loaded,
        "latency_ms": _percentiles(spent),
        "images_per_second": {
            b: _throughput(predict if b == 1 else in_batches, one, b, case.repeats)
            for b in case.batches
        },
    }
    if predictor is not None:
        result["merging"] = _merging(predictor, one, case.repeats)
    if gpu_before is not None:
        result["gpu_memory_mib"] = ((_gpu_used() or 0) - gpu_before) / 2**20
    return result


def timed(work: Callable[[], object], repeats: int) -> Iterator[float]:
    """Milliseconds of each call, after a warm-up call; after `SECONDS` no more than three."""
    work()
    end = time.perf_counter() + SECONDS
    for k in range(repeats):
        began = time.perf_counter()
        work()
        now = time.perf_counter()
        yield 1e3 * (now - began)
        if now > end and k >= 2:
            return


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "n": len(values)}


def _throughput(
    predict: Callable[[NDArray[np.float32]], object],
    one: NDArray[np.float32],
    batch: int,
    repeats: int,
) -> float:
    """Images per second at the median time of a batch."""
    whole = np.repeat(one, batch, axis=0)
    spent = list(timed(lambda: predict(whole), max(3, repeats // batch)))
    return 1e3 * batch / float(np.median(spent))


def _direct(case: Case) -> Callable[[NDArray[np.float32]], object]:
    """ONNX Runtime as its own documentation shows it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    session = onnxruntime.InferenceSession(
        str(case.path), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


def _merging(predictor: Predictor, one: NDArray[np.float32], repeats: int) -> dict[str, Any]:
    """What dynamic batching does to one caller that is alone, and to several."""
    return {
        "callers": CALLERS,
        "alone": compare(predictor, one, 1, repeats, CALLERS),
        "several": compare(predictor, one, CALLERS, repeats // CALLERS, CALLERS),
    }


def _gpu_used() -> int | None:
    """Bytes in use on the GPU, by all processes; None without one."""
    from clickcut.backends import cuda

    try:
        free, total = cuda.call("cudaMemGetInfo")
    except BackendError:
        return None
    return int(total) - int(free)


# ---- all cases


def cases(
    paths: Sequence[Path],
    backends: Sequence[str],
    sizes: Sequence[int],
    batches: tuple[int, ...],
    repeats: int,
    threads: int,
) -> list[Case]:
    """Every model in every back-end that loads its kind of file, at each size."""
    found = []
    for path in paths:
        for backend in backends:
            if not takes(backend, path):
                continue
            for size in sizes or (None,):
                names = (backend, DIRECT) if backend == "onnxruntime-cpu" else (backend,)
                found += [Case(path, name, size, batches, repeats, threads) for name in names]
    return found


def run(
    models: Sequence[Path],
    backends: Sequence[str],
    sizes: Sequence[int],
    batches: Sequence[int],
    repeats: int,
    threads: int,
    json_path: Path | None,
    plot_path: Path | None,
) -> dict[str, Any]:
    """Measure; print a table; write JSON and plot when paths are given.

    Raises:
        BackendError: a back-end that was asked for by name is not available.
        BundleError: a model cannot be read.
    """
    unavailable = {b: reason for b in backends or BACKENDS if (reason := why_unavailable(b))}
    if backends and unavailable:
        raise BackendError("; ".join(unavailable.values()))
    usable = [b for b in backends or BACKENDS if b not in unavailable]
    paths = list(models) or [bundled_models()["default"]]
    document: dict[str, Any] = {
        "machine": describe() | _gpu(),
        "threads": threads,
        "models": {str(p.name): _identity(p) for p in paths},
        "unavailable": unavailable,
        "cases": [],
        "skipped": [],
    }
    for case in cases(paths, usable, sizes, tuple(batches), repeats, threads):
        size = case.size or read_model(case.path).metadata.input_size
        row: dict[str, Any] = {"model": case.path.name, "backend": case.backend, "size": size}
        try:
            document["cases"].append(row | _in_own_process(case))
        except Exception as error:  # also ONNX Runtime's own, used directly
            if not isinstance(error, ClickcutError) and case.backend != DIRECT:
                raise
            reason = str(error).splitlines()[0]
            document["skipped"].append(row | {"reason": reason})
    show(document)
    if json_path:
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    if plot_path:
        plot(document, plot_path)
    return document


def _in_own_process(case: Case) -> dict[str, Any]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, case).result()


def _identity(path: Path) -> dict[str, Any]:
    file = read_model(path)
    return {
        "name": file.metadata.name,
        "version": file.metadata.version,
        "architecture": file.metadata.architecture,
        "sha256": file.sha256,
        "mib": file.nbytes / 2**20,
    }


def _gpu() -> dict[str, str]:
    """Name of the GPU, if there is one."""
    from clickcut.backends import cuda

    try:
        properties = cuda.call("cudaGetDeviceProperties", 0)
    except BackendError:
        return {}
    name = properties.name
    return {"gpu": name.decode() if isinstance(name, bytes) else str(name)}
