"""The interface of back-ends, and the checks of the first prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle.metadata import BundleMetadata
from clickcut.bundle.reference import CPU_TOLERANCE, GPU_TOLERANCE, ReferenceAnswer
from clickcut.errors import BundleError, ClickcutError, printable


class Predictor(Protocol):
    """A loaded model in a back-end. Safe to call from several threads at once.

    Attributes:
        metadata: of the model.
        backend: its name.
        sha256: of the model's file, without its seal, hex; "" for a model without a file.
    """

    metadata: BundleMetadata
    backend: str
    sha256: str

    def warm_up(self) -> None:
        """Do everything that would slow down the first prediction.

        Raises:
            BundleError: the network does not give finite logits of the right shape.
        """

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predict the logits of a batch.

        Args:
            batch: (N, C, S, S) float32, channels as in `BundleMetadata`; any N. S is the metadata's
                `input_size`; a graph with symbolic sizes accepts others as well.

        Returns:
            (N, S, S) float32.

        Raises:
            BundleError: the graph does not accept this S.
        """


def check_first_prediction(predictor: Predictor) -> None:
    """Predict a blank image.

    Raises:
        BundleError: it fails, or the logits are not finite or of another shape.
    """
    size, channels = predictor.metadata.input_size, len(predictor.metadata.channels)
    _checked(predictor, np.zeros((1, channels, size, size), np.float32), "a blank image")


def check_reference_answer(predictor: Predictor, reference: ReferenceAnswer, where: Path) -> None:
    """Check that a predictor reproduces the reference answer of its model.

    Args:
        predictor: of the model.
        reference: stored with the model.
        where: file, for messages.

    Raises:
        BundleError: the answer differs, for instance where 8-bit arithmetic saturates, or the
            prediction fails.
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
    """Return the logits of one input, (1, S, S) float32, all finite.

    Raises:
        BundleError: they are not, or the prediction fails.
    """
    try:
        logits = predictor.predict(batch)
    except ClickcutError:
        raise
    except Exception as error:  # a back-end may raise anything for a bad graph
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
