"""The unit of work: one object selected with one method. Runs anywhere; the result is the same."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache

from clickcut_eval.methods import MethodSpec, build
from clickcut_eval.methods.base import Method
from clickcut_eval.metrics import Outcome
from clickcut_eval.protocol import Protocol, play
from clickcut_eval.targets import Target


@dataclass(frozen=True, slots=True)
class Job:
    """One object to select with one method."""

    method: MethodSpec
    dataset: str
    target: Target
    protocol: Protocol


def one_thread() -> None:
    """Keep libraries in this process to one thread each: the processes share the cores.

    Also what makes results independent of the number of cores: sums keep their order.
    """
    import cv2

    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)


def perform(job: Job) -> Outcome | None:
    """Select the object; None when it has no pixels. Errors as of `build` and `play`.

    Seconds are those of the processor, which other work on the machine does not lengthen.
    """
    return play(job.target, _method(job.method), job.protocol, time.process_time)


@lru_cache(maxsize=1)
def _method(spec: MethodSpec) -> Method:
    return build(spec)
