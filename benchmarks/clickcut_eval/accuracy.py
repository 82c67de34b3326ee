"""A predictor's accuracy inside one process, on threads: for training scripts and quick checks.

`clickcut eval run` measures the same way on processes or machines, and keeps the results.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from clickcut.backends import Predictor
from clickcut.parameters import Parameters
from clickcut.processor import available_cpus
from clickcut_eval.methods.engine import EngineMethod
from clickcut_eval.metrics import Outcome
from clickcut_eval.protocol import Protocol, play
from clickcut_eval.targets import Target


def measure_all(
    targets: Iterable[Target],
    predictor: Predictor,
    parameters: Parameters,
    solver: str = "grid",
    stop_at: float = 0.9,
    workers: int | None = None,
) -> Iterator[Outcome]:
    """Let the simulated user (rule `deepest`) select every target that has pixels, in order.

    Args:
        targets: read as they are needed.
        predictor: the model; used by several threads at once.
        parameters: of the sessions.
        solver: of the graph cut.
        stop_at: IoU at which the user stops.
        workers: threads; one per CPU that this process may use when None.
    """
    protocol = Protocol(stop_at=stop_at)
    workers = workers or available_cpus()

    def measure(target: Target) -> Outcome | None:
        return play(target, EngineMethod(predictor, parameters, solver), protocol)

    with ThreadPoolExecutor(workers) as pool:
        jobs = (pool.submit(measure, target) for target in targets)
        waiting = list(itertools.islice(jobs, 2 * workers))
        while waiting:
            outcome = waiting.pop(0).result()
            waiting.extend(itertools.islice(jobs, 1))
            if outcome is not None:
                yield outcome
