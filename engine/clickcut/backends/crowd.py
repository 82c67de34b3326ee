"""One thread per prediction when many wait, all threads for one that is alone.

A prediction in several threads ends sooner but takes more processor time in all: threads wait for
each other at every layer. When there is a request for every core, that time is taken from others.
The two ways give the same logits, bit for bit, or only the first one is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut.backends.base import Predictor
from clickcut.backends.load import load_predictor

_log = logging.getLogger(__name__)


class CrowdPredictor:
    """A predictor that uses one thread while the machine is crowded.

    Args:
        alone: predicts in all threads.
        crowd: the same model, in one thread.
        is_crowded: returns whether there is work for every core; called in any thread.

    Attributes:
        metadata: of both.
        backend: of both.
        sha256: of their file.
    """

    def __init__(self, alone: Predictor, crowd: Predictor, is_crowded: Callable[[], bool]) -> None:
        self.metadata = alone.metadata
        self.backend = alone.backend
        self.sha256 = alone.sha256
        self._alone = alone
        self._crowd = crowd
        self._is_crowded = is_crowded

    def warm_up(self) -> None:
        """See `Predictor.warm_up`."""
        self._alone.warm_up()
        self._crowd.warm_up()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Predictor.predict`."""
        return (self._crowd if self._is_crowded() else self._alone).predict(batch)


def for_crowds(alone: Predictor, path: Path, is_crowded: Callable[[], bool]) -> Predictor:
    """Return a predictor that uses one thread in crowds, or `alone` if masks could differ by it.

    Args:
        alone: a bundle on the CPU, in several threads.
        path: of the same file.
        is_crowded: see `CrowdPredictor`.

    Raises:
        BackendError, BundleError: as `load_predictor`.
    """
    crowd = load_predictor(path, 1, alone.backend)
    if not same_logits(alone, crowd):
        _log.warning(
            "model %s: its logits depend on the number of threads, which is therefore always the "
            "same; --threads 1 serves more requests at once",
            alone.metadata.name,
        )
        return alone
    return CrowdPredictor(alone, crowd, is_crowded)


def same_logits(one: Predictor, other: Predictor) -> bool:
    """Return whether two predictors give the same logits, bit for bit, for an arbitrary input.

    How a layer is divided between threads depends on shapes, not on values, so one input shows it.
    """
    size, channels = one.metadata.input_size, len(one.metadata.channels)
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((1, channels, size, size), np.float32)
    return np.array_equal(one.predict(batch), other.predict(batch), equal_nan=True)
