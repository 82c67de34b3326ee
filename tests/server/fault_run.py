"""How long tests of faults run; see `make test-faults`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultRun:
    """How long tests of faults run.

    Attributes:
        is_full: with the numbers of the nightly run.
        seed: of what is random; the number of the part.
        parts: that the numbers are divided by.
    """

    is_full: bool = False
    seed: int = 1
    parts: int = 1
