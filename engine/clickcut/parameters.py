"""Parameters of a session: those of the graph cut, and the decision threshold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from clickcut.checks import flag_of, number_of, shown
from clickcut.errors import EventError

RANGES = {
    "cut_lambda": (0.0, 1e4),
    "cut_sigma": (0.0, 1e4),
    "seed_radius": (0.0, 100.0),
    "threshold": (1e-3, 1 - 1e-3),
}
"""Minimum and maximum of each number, both inclusive."""


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
        """Return a copy with some fields replaced.

        Raises:
            EventError: an unknown field, not a number, or out of range.
        """
        for name, value in changes.items():
            if name == "cut":
                if not isinstance(value, bool):
                    raise EventError(f"cut must be true or false, got {value!r}")
                continue
            _check_name(name)
            low, high = RANGES[name]
            if not math.isfinite(value) or not low <= value <= high:
                raise EventError(f"{name} must lie in [{low:g}, {high:g}], got {value}")
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def checked_values(values: object) -> dict[str, float | bool]:
    """Return the values of parameters by name, as Python numbers and bools.

    Args:
        values: a mapping by name of the fields of `Parameters`; None for no values.

    Raises:
        EventError: not a mapping, an unknown name, or a value of the wrong type.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise EventError(f"parameters are a dict by name, got {shown(values)}")
    found = {}
    for name, value in values.items():
        _check_name(name)
        found[name] = flag_of(value, name) if name == "cut" else number_of(value, name)
    return found


def _check_name(name: object) -> None:
    names = [field.name for field in dataclasses.fields(Parameters)]
    if name not in names:
        raise EventError(f"unknown parameter {name!r}; there are {', '.join(names)}")
