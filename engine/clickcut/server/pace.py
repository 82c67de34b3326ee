"""How long the steps of requests take, to estimate how long a new one will wait."""

from __future__ import annotations

from collections import deque

STEPS = 128
"""Number of latest steps that are averaged."""

MIN_STEPS = 32
"""Number of steps below which there is no estimate."""


class Pace:
    """The mean time of the latest steps. Not thread-safe."""

    def __init__(self) -> None:
        self._spent: deque[float] = deque()
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count a step."""
        self._spent.append(seconds)
        self._sum += seconds
        if len(self._spent) > STEPS:
            self._sum -= self._spent.popleft()

    def wait(self, steps: int, workers: int) -> float:
        """Return the expected seconds until a worker is free for a step behind others.

        Args:
            steps: that run or wait.
            workers: threads that run them.

        Returns:
            0.0 when one is free, or when too few steps are known for an estimate.
        """
        if len(self._spent) < MIN_STEPS or steps < workers:
            return 0.0
        return max(0.0, self._sum) / len(self._spent) * (steps - workers + 1) / workers
