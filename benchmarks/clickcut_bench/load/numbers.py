"""Numbers of a load run: what was refused, how long it took, how it was shared out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clickcut.timings import STAGES
from clickcut_bench.load.annotator import Event
from clickcut_bench.load.plan import KINDS

MIN_CLICKS = 3
"""An annotator with fewer later clicks has no median worth comparing."""

MAX_ERRORS = 5
"""Kinds of errors that are listed."""


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99, the maximum and the number of values; only the number when there are none."""
    if not values:
        return {"n": 0}
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "max": float(max(values)),
        "n": len(values),
    }


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all values are equal, 1 / n when one has everything.

    R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource
    Allocation in Shared Computer Systems", DEC-TR-301, 1984.
    """
    squares = sum(v * v for v in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def fairness(events: Iterable[Event]) -> dict[str, float]:
    """Compare the annotators' median latencies of later clicks.

    Returns:
        `annotators` that have at least `MIN_CLICKS` of them, `jain` of their medians, and
        `max_over_min` of these.
    """
    by_annotator: dict[int, list[float]] = defaultdict(list)
    for event in events:
        if event.kind == "click" and event.outcome == "accepted":
            by_annotator[event.annotator].append(event.latency)
    medians = [float(np.median(v)) for v in by_annotator.values() if len(v) >= MIN_CLICKS]
    if not medians:
        return {"annotators": 0}
    return {
        "annotators": len(medians),
        "jain": jain(medians),
        "max_over_min": max(medians) / min(medians),
    }


def summarise(events: Sequence[Event], since: float, seconds: float) -> dict[str, Any]:
    """Return the numbers of the events intended at `since` seconds or later.

    Args:
        events: of the whole run.
        since: end of the warm-up, seconds from the start.
        seconds: end of the run, seconds from the start.
    """
    counted = [e for e in events if e.intended >= since]
    accepted = [e for e in counted if e.outcome == "accepted"]
    outcomes = Counter(e.outcome for e in counted)
    errors = Counter(e.error for e in counted if e.error)
    return {
        "events": len(counted),
        "accepted": outcomes["accepted"],
        "refused": sum(e.refusals > 0 for e in counted),
        "refusals": sum(e.refusals for e in counted),
        "failed": outcomes["failed"],
        "left out": outcomes["left out"],
        "errors": dict(errors.most_common(MAX_ERRORS)),
        "wrong masks": sum(not e.right for e in accepted),
        "accepted per second": len(accepted) / (seconds - since),
        "latency ms": {
            kind: percentiles([e.latency for e in accepted if e.kind == kind]) for kind in KINDS
        },
        "server ms": _stages([e for e in accepted if e.kind == "click"]),
        "generator late ms": percentiles([1e3 * e.late for e in counted if e.late is not None]),
        "fairness": fairness(counted),
    }


def _stages(events: Sequence[Event]) -> dict[str, dict[str, float]]:
    found = {}
    for stage in STAGES:
        if any(e.stages.get(stage) for e in events):
            found[stage] = percentiles([e.stages.get(stage, 0.0) for e in events])
    return found
