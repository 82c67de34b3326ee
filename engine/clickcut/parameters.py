"""What a user may tune in a session: the graph cut and the decision threshold."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from clickcut.errors import EventError

RANGES = {
    "cut_lambda": (0.0, 1e4),
    "cut_sigma": (0.0, 1e4),
    "seed_radius": (0.0, 100.0),
    "threshold": (1e-3, 1 - 1e-3),
}
"""Lowest and highest accepted value of each number, both included."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a session; a bundle carries the defaults.

    Attributes:
        cut_lambda: lambda of E = lambda R + B (paper equation 3); larger follows the network more.
        cut_sigma: sigma of the contrast term, grey levels; 0 = estimated from the image.
        seed_radius: radius in image pixels of the certain disc around a click; in a region with a
            side below 385 pixels it shrinks in proportion.
        cut: False: no graph cut, the mask is probability > threshold.
        threshold: decision threshold on the probability; the cut is biased by it as well.
    """

    cut_lambda: float = 1.0
    cut_sigma: float = 0.0
    seed_radius: float = 5.0
    cut: bool = True
    threshold: float = 0.5

    def changed(self, **changes: float | bool) -> Parameters:
        """A copy with some fields replaced.

        Raises:
            EventError: an unknown field, not a number, or out of range.
        """
        for name, value in changes.items():
            if name == "cut":
                if not isinstance(value, bool):
                    raise EventError(f"cut must be true or false, got {value!r}")
                continue
            if name not in RANGES:
                known = ", ".join(f.name for f in dataclasses.fields(self))
                raise EventError(f"unknown parameter {name!r}; there are {known}")
            low, high = RANGES[name]
            if not math.isfinite(value) or not low <= value <= high:
                raise EventError(f"{name} must lie in [{low:g}, {high:g}], got {value}")
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
