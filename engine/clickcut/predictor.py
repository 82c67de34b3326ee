"""A predictor is a bundle loaded in a back-end: network inputs in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from clickcut.errors import BackendError, BundleError, ClickcutError
from clickcut.reference import CPU_TOLERANCE, GPU_TOLERANCE, ReferenceAnswer

if TYPE_CHECKING:
    from clickcut.bundle import BundleMetadata

BACKENDS = ("onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt")
"""Names of all back-ends; which of them can be used depends on what is installed."""

DEFAULT_BACKENDS = {".onnx": "onnxruntime-cpu", ".plan": "tensorrt"}
"""The back-end of a file when none is asked for."""


class Predictor(Protocol):
    """What every back-end offers. Safe to call from several threads at once."""

    metadata: BundleMetadata
    backend: str

    def warm_up(self) -> None:
        """Do all that would slow down the first prediction.

        Raises:
            BundleError: the network does not give finite logits of the right shape.
        """

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, S, S) float32 -> logits (N, S, S) float32; see `BundleMetadata`.

        Any N. S is the metadata's `input_size`; a graph with symbolic sizes takes others as well.

        Raises:
            BundleError: the graph does not take this S.
        """


def load_predictor(
    path: Path, threads: int = 0, backend: str = "", max_batch: int = 1
) -> Predictor:
    """Load a model in a back-end.

    Args:
        path: a bundle (`.onnx`), or for `tensorrt` a plan (`.plan`) with its metadata beside it.
        threads: threads per prediction on the CPU; 0 = one per core.
        backend: of `BACKENDS`; "" = what the file is for, an `.onnx` file runs on the CPU.
        max_batch: largest N that will be asked for often; TensorRT prepares for it.

    Raises:
        BackendError: the back-end is unknown or not available here; the message says what to
            install.
        BundleError: no such file, damaged, not one of clickcut's, operators that the back-end does
            not have, or a graph that does not fit its metadata.
    """
    chosen = backend or DEFAULT_BACKENDS.get(path.suffix, "onnxruntime-cpu")
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


def takes(backend: str, path: Path) -> bool:
    """Whether a back-end loads files of this kind: `tensorrt` plans, the others bundles."""
    return (backend == "tensorrt") == (path.suffix == ".plan")


def why_unavailable(backend: str) -> str:
    """Why a back-end cannot be used here and what to install; "" when it can."""
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


def check_first_prediction(predictor: Predictor) -> None:
    """Predict a blank image.

    Raises:
        BundleError: it fails, or the logits are not finite or of another shape.
    """
    size, channels = predictor.metadata.input_size, len(predictor.metadata.channels)
    _checked(predictor, np.zeros((1, channels, size, size), np.float32), "a blank image")


def check_reference_answer(predictor: Predictor, reference: ReferenceAnswer, where: Path) -> None:
    """Have a predictor give the answer that its model was exported with.

    Args:
        predictor: of the model.
        reference: that the model carries.
        where: file, for messages.

    Raises:
        BundleError: it gives another answer, which happens where 8-bit arithmetic saturates, or
            none.
    """
    tolerance = CPU_TOLERANCE if predictor.backend == "onnxruntime-cpu" else GPU_TOLERANCE
    batch = reference.input(predictor.metadata.input_size)
    found = reference.difference(_checked(predictor, batch, "its reference input"))
    if found > tolerance:
        raise BundleError(
            f"{where}: {predictor.backend} computes it wrongly on this machine: on the input that "
            f"it was exported with, the probability is off by {found:.3f} on average (at most "
            f"{tolerance:g}). Serve the float model that it was made of, use another --backend, or "
            "install a newer version of this one"
        )


def _checked(predictor: Predictor, batch: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    """The logits of one input, (1, S, S) float32, all finite.

    Raises:
        BundleError: they are not, or the prediction fails.
    """
    try:
        logits = predictor.predict(batch)
    except ClickcutError:
        raise
    except Exception as error:  # whatever the back-end raises for a graph that does not work
        raise BundleError(
            f"model {predictor.metadata.name}: its first prediction failed ({error})"
        ) from error
    size = predictor.metadata.input_size
    if logits.shape != (1, size, size) or not np.isfinite(logits).all():
        raise BundleError(
            f"model {predictor.metadata.name}: {what} gave an output of shape "
            f"{logits.shape} or one that is not finite; expected (1, {size}, {size})"
        )
    return logits
