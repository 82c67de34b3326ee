"""`clickcut eval tune`: find parameters of the methods without learning on training photographs.

A random search: each trial draws all parameters of a method, except the first, which takes the
current ones. All trials see the same objects; the smallest mean number of clicks wins. Photographs
that results are reported on are not used.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from clickcut.processor import available_cpus
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import open_dataset
from clickcut_eval.errors import MethodError
from clickcut_eval.jobs import Job
from clickcut_eval.methods import MethodSpec, build, choose
from clickcut_eval.metrics import Outcome, curves
from clickcut_eval.pools import on_processes
from clickcut_eval.protocol import Protocol
from clickcut_eval.run import evenly

Range = tuple[float, float]

_COLOUR: dict[str, Range] = {
    "bandwidth": (2.0, 16.0),
    "floor": (0.001, 0.3),
    "image_weight": (5.0, 400.0),
}
_CUT: dict[str, Range] = _COLOUR | {"cut_lambda": (0.01, 1.0), "contrast": (0.15, 2.0)}

SPACE: dict[str, dict[str, Range]] = {
    "graph-cut": _CUT,
    "geodesic-matting": _COLOUR | {"spatial": (0.0003, 0.1)},
    "random-walker": {"beta": (10.0, 3000.0), "smoothing": (0.3, 2.0)},
    "euclidean-star": _CUT,
    "geodesic-star": _CUT | {"gamma": (0.1, 1.0)},
    "growcut": {"smoothing": (0.3, 3.0), "decay": (0.0001, 0.1)},
}
"""Method -> parameter -> range; drawn uniformly on a logarithmic scale."""

Trial = dict[str, Any]


def tune(
    method: str,
    data: DataSpec,
    trials: int,
    objects: int,
    target: float = 0.85,
    max_clicks: int = 10,
    console: Console | None = None,
) -> list[Trial]:
    """Try parameters of a method.

    Args:
        method: a key of `SPACE`.
        data: training photographs, such as VOC's `train`.
        trials: number of parameter sets.
        objects: number of objects that each is tried on.
        target: IoU to reach.
        max_clicks: clicks for each object.
        console: where trials are printed.

    Returns:
        Trials, the best first: parameters, clicks, area (mean IoU over all clicks).

    Raises:
        MethodError: nothing to tune in this method.
        DatasetError: see `open_dataset`.
    """
    if method not in SPACE:
        raise MethodError(f"nothing to tune in {method!r}; there are {', '.join(SPACE)}")
    console = console or Console()
    targets = evenly(open_dataset(data)[1], objects)
    protocol = Protocol("deepest", max_clicks, target)
    specs = [
        choose([method], None, {}, {}, {method: parameters})[0]
        for parameters in draw(method, trials)
    ]
    for spec in specs:
        build(spec)
    jobs = [Job(spec, data.name, t, protocol) for spec in specs for t in targets]
    outcomes: dict[MethodSpec, list[Outcome | None]] = defaultdict(list)
    results: list[Trial] = []
    for job, outcome in on_processes(jobs, available_cpus()):
        outcomes[job.method].append(outcome)
        if len(outcomes[job.method]) == len(targets):
            results.append(_trial(dict(job.method.options), outcomes[job.method], protocol))
            console.print(json.dumps(results[-1]))
    return sorted(results, key=lambda t: (t["clicks"], -t["area"]))


def draw(method: str, trials: int, seed: int = 0) -> Iterator[dict[str, float]]:
    """Parameter sets, the same for every call; the first is empty: the current values."""
    rng = np.random.default_rng(seed)
    yield {}
    for _ in range(trials - 1):
        yield {
            name: float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")
            for name, (low, high) in SPACE[method].items()
        }


def _trial(
    parameters: dict[str, float], outcomes: Sequence[Outcome | None], protocol: Protocol
) -> Trial:
    some = [o for o in outcomes if o is not None]
    clicks = float(np.mean([o.clicks_to(protocol.stop_at, protocol.max_clicks) for o in some]))
    area = float(curves(some, protocol.max_clicks).mean())
    return {"parameters": parameters, "clicks": round(clicks, 3), "area": round(area, 4)}
