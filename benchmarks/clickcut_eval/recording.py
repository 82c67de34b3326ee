"""A predictor that keeps what it is asked and what it answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.bundle import BundleMetadata


class RecordingPredictor:
    """Wraps a predictor, see `clickcut.backends.Predictor`.

    Args:
        predictor: the one that answers.

    Attributes:
        inputs: (N, C, S, S) float32 of each prediction, copies.
        logits: (N, S, S) float32 of each prediction, copies.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.metadata: BundleMetadata = predictor.metadata
        self.backend = predictor.backend
        self.sha256 = predictor.sha256
        self.inputs: list[NDArray[np.float32]] = []
        self.logits: list[NDArray[np.float32]] = []
        self._predictor = predictor

    def warm_up(self) -> None:
        """Warm the wrapped predictor up."""
        self._predictor.warm_up()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answer as the wrapped predictor does."""
        self.inputs.append(batch.copy())
        logits = self._predictor.predict(batch)
        self.logits.append(logits.copy())
        return logits
