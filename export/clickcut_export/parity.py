"""How far two forms of a model are apart on real inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.session.state import probability
from clickcut_export.errors import ParityError

Batch = NDArray[np.float32]
Network = Callable[[Batch], Batch]
"""(N, C, S, S) float32 -> logits (N, S, S) float32."""


@dataclass(frozen=True)
class Tolerance:
    """What is accepted.

    Attributes:
        worst: largest difference of probability at any pixel.
        mean: largest mean difference of probability.
        iou: least mean IoU of the masks (probability above the threshold).
    """

    worst: float
    mean: float
    iou: float


FLOAT32 = Tolerance(worst=1e-3, mean=1e-5, iou=0.9995)
"""The same network: only the order of additions differs."""

FLOAT16 = Tolerance(worst=0.1, mean=2e-3, iou=0.99)
"""11 bits of mantissa; the worst pixel lies on an outline, where the probability is steep."""

INT8 = Tolerance(worst=1.0, mean=0.02, iou=0.95)
"""A sanity check; what int8 really costs is measured in clicks."""


@dataclass(frozen=True)
class Parity:
    """Differences over all inputs.

    Attributes:
        inputs: compared, one for each simulated click.
        worst: largest difference of probability at any pixel.
        mean: mean difference of probability.
        iou: mean IoU of the two masks.
        least_iou: least IoU of the two masks.
    """

    inputs: int
    worst: float
    mean: float
    iou: float
    least_iou: float

    def __str__(self) -> str:
        return (
            f"{self.inputs} inputs: probability differs by at most {self.worst:.2g}, "
            f"on average by {self.mean:.2g}; masks IoU {self.iou:.5f} (least {self.least_iou:.5f})"
        )

    def check(self, tolerance: Tolerance, what: str, advice: str = "") -> None:
        """Refuse a model that is too far off.

        Args:
            tolerance: what is allowed.
            what: the model, for the message.
            advice: what to try next.

        Raises:
            ParityError: with the differences and what was allowed.
        """
        fits = (
            self.worst <= tolerance.worst  # false for NaN as well
            and self.mean <= tolerance.mean
            and self.iou >= tolerance.iou
        )
        if not fits:
            raise ParityError(
                f"{what} is not accepted: {self}; allowed: at most {tolerance.worst:g}, on average "
                f"{tolerance.mean:g}, IoU at least {tolerance.iou:g}. Nothing was written"
                + (f"; {advice}" if advice else "")
            )


def compare(
    reference: Network, candidate: Network, inputs: Iterable[Batch], threshold: float = 0.5
) -> Parity:
    """Run both on each input, (1, C, S, S) float32, and measure how they differ.

    Args:
        reference: what the candidate is to equal.
        candidate: the other form.
        inputs: at least one.
        threshold: probability above which a pixel is object.

    Raises:
        ParityError: the candidate's output has another shape.
    """
    worst, means, ious = [], [], []
    for batch in inputs:
        wanted, found = reference(batch), candidate(batch)
        if found.shape != wanted.shape:
            raise ParityError(f"the output has shape {found.shape}, expected {wanted.shape}")
        p, q = probability(wanted), probability(found)
        difference = np.abs(p - q)
        worst.append(difference.max())
        means.append(difference.mean())
        a, b = p > threshold, q > threshold
        union = np.count_nonzero(a | b)
        ious.append(np.count_nonzero(a & b) / union if union else 1.0)
    return Parity(
        len(ious),
        float(np.max(worst)),
        float(np.mean(means)),
        float(np.mean(ious)),
        float(np.min(ious)),
    )
