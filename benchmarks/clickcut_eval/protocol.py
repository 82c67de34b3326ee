"""One object, one method, one simulated user."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from clickcut_eval.clicker import RULES, Click, Clicker, Rule
from clickcut_eval.errors import DatasetError, RunError
from clickcut_eval.methods.base import Method
from clickcut_eval.metrics import MAX_CLICKS, Outcome
from clickcut_eval.targets import Target


@dataclass(frozen=True)
class Protocol:
    """How the simulated user works.

    Attributes:
        rule: where clicks go.
        max_clicks: clicks after which the user gives up.
        stop_at: IoU at which the user stops; at 1, only when no pixel is wrong.

    Raises:
        RunError: an unknown rule or impossible numbers.
    """

    rule: Rule = "deepest"
    max_clicks: int = MAX_CLICKS
    stop_at: float = 0.9

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise RunError(f"unknown click rule {self.rule!r}; choose one of {', '.join(RULES)}")
        if self.max_clicks < 1 or not self.stop_at > 0:
            raise RunError("there must be at least one click, and the IoU to stop at must be > 0")

    def record(self) -> dict[str, Any]:
        """As it is written into a run directory."""
        return asdict(self)


def play(
    target: Target,
    method: Method,
    protocol: Protocol,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome | None:
    """Let the simulated user select one object; None when the object has no pixels.

    Args:
        target: the object.
        method: any state of an earlier image is dropped.
        protocol: see there.
        clock: what the seconds of the outcome are measured with.

    Raises:
        DatasetError: masks and photograph differ in size.
        ImageError: the photograph cannot be read.
    """
    ground_truth = target.ground_truth()
    if not (ground_truth.mask & ~ground_truth.ignore).any():
        return None
    pixels = target.pixels()
    height, width = ground_truth.mask.shape
    if pixels.shape[:2] != (height, width):
        raise DatasetError(
            f"{target.name}: the mask has {width} x {height} pixels, the photograph "
            f"{target.image} has {pixels.shape[1]} x {pixels.shape[0]}"
        )
    clicker = Clicker(ground_truth.mask, ground_truth.ignore, protocol.rule)
    max_clicks = min(protocol.max_clicks, method.max_clicks or protocol.max_clicks)
    began = clock()
    method.set_image(pixels)
    image_seconds = clock() - began
    ious: list[float] = []
    clicks: list[Click] = []
    seconds: list[float] = []
    while len(clicks) < max_clicks and (click := clicker.next_click(method.mask)) is not None:
        began = clock()
        method.add_click(*click)
        seconds.append(clock() - began)
        clicks.append(click)
        ious.append(clicker.iou(method.mask))
        if ious[-1] >= protocol.stop_at:
            break
    return Outcome(
        target.name,
        ious,
        clicks,
        seconds,
        image_seconds,
        target.category,
        int(ground_truth.mask.sum()),
        (pixels.shape[1], pixels.shape[0]),
    )
