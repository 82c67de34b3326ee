"""What every back-end offers, and the checks of its first prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle.metadata import BundleMetadata
from clickcut.bundle.reference import CPU_TOLERANCE, GPU_TOLERANCE, ReferenceAnswer
from clickcut.errors import BundleError, ClickcutError, printable


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
            f"model {predictor.metadata.name}: its first prediction failed "
            f"({printable(str(error).partition(chr(10))[0], 500)})"
        ) from error
    size = predictor.metadata.input_size
    if logits.shape != (1, size, size) or not np.isfinite(logits).all():
        raise BundleError(
            f"model {predictor.metadata.name}: {what} gave an output of shape "
            f"{logits.shape} or one that is not finite; expected (1, {size}, {size})"
        )
    return logits
