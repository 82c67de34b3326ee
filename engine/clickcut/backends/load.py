"""Load a model in its back-end. Back-ends are imported when needed."""

from __future__ import annotations

from pathlib import Path

from clickcut.backends.base import Predictor
from clickcut.errors import BackendError, BundleError

BACKENDS = ("onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt")
"""Names of all back-ends; which of them can be used depends on what is installed."""

DEFAULT_BACKENDS = {".onnx": "onnxruntime-cpu", ".plan": "tensorrt"}
"""Default back-end by file suffix."""


def load_predictor(
    path: Path, threads: int = 0, backend: str = "", max_batch: int = 1
) -> Predictor:
    """Load a model in a back-end.

    Args:
        path: a bundle (`.onnx`), or for `tensorrt` a plan (`.plan`) with its metadata beside it.
        threads: threads per prediction on the CPU; 0 = one per core.
        backend: of `BACKENDS`; "" for the default of the file; an `.onnx` file runs on the CPU.
        max_batch: maximum usual batch size, which the back-end prepares for.

    Raises:
        BackendError: the back-end is unknown or not available here; the message says what to
            install.
        BundleError: no such file, damaged, not a clickcut bundle, operators that the back-end does
            not support, or a graph that does not fit its metadata.
    """
    chosen = backend or default_backend(path)
    if chosen not in BACKENDS:
        raise BackendError(f"no back-end {chosen!r}; there are {', '.join(BACKENDS)}")
    if not takes(chosen, path):
        raise BundleError(
            f"{path}: the back-end {chosen} takes "
            + (
                "plans: make one with `clickcut export tensorrt MODEL.onnx -o MODEL.plan`"
                if chosen == "tensorrt"
                else ".onnx files; a plan needs the back-end tensorrt"
            )
        )
    if chosen == "tensorrt":
        from clickcut.backends.tensorrt import TensorRTPredictor

        return TensorRTPredictor(path)
    from clickcut.backends.onnx_runtime import OnnxPredictor

    return OnnxPredictor(path, threads, chosen, max_batch)


def default_backend(path: Path) -> str:
    """Return the back-end that runs a file when none is named."""
    return DEFAULT_BACKENDS.get(path.suffix, "onnxruntime-cpu")


def takes(backend: str, path: Path) -> bool:
    """Return whether a back-end loads files of this kind: `tensorrt` plans, the others bundles."""
    return (backend == "tensorrt") == (path.suffix == ".plan")


def why_unavailable(backend: str) -> str:
    """Return why a back-end cannot be used here and what to install; "" if it can."""
    try:
        if backend == "tensorrt":
            from clickcut.backends.tensorrt import check_available

            check_available()
        else:
            from clickcut.backends.onnx_runtime import check_provider

            check_provider(backend)
    except BackendError as error:
        return str(error)
    return ""
