"""Pictures of a run: recorded clicks are played again with any method, and drawn."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.overlay import draw_overlay
from clickcut_eval.clicker import Click, Clicker
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import open_dataset
from clickcut_eval.errors import DatasetError
from clickcut_eval.methods import build, described
from clickcut_eval.methods.base import Method
from clickcut_eval.metrics import Outcome
from clickcut_eval.store import Run, fingerprint
from clickcut_eval.targets import Target

WIDTH = 320
"""Of a picture on the page, pixels."""


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        caption: a line of text.
        pixels: (H, W, 3) uint8, RGB.
    """

    caption: str
    pixels: NDArray[np.uint8]

    def data_uri(self) -> str:
        """The picture as a JPEG inside a URI, `WIDTH` pixels wide."""
        height = max(1, round(self.pixels.shape[0] * WIDTH / self.pixels.shape[1]))
        small = cv2.resize(self.pixels, (WIDTH, height), interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


class Player:
    """Plays clicks again on the data and with the methods of a run.

    Args:
        run: where clicks and methods were recorded.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._methods: dict[str, Method] = {}
        self._targets: dict[str, dict[str, Target]] = {}

    def target(self, dataset: str, name: str) -> Target:
        """An object.

        Raises:
            DatasetError: the data set is gone or another one now.
        """
        if dataset not in self._targets:
            facts = self._run.configuration["datasets"][dataset]
            _, targets = open_dataset(DataSpec.named(dataset, facts["folder"]))
            if fingerprint(targets) != facts["fingerprint"]:
                raise DatasetError(f"{facts['folder']}: has changed since it was measured")
            self._targets[dataset] = {t.name: t for t in targets}
        return self._targets[dataset][name]

    def play(
        self, target: Target, method: str, clicks: Sequence[Click]
    ) -> list[tuple[NDArray[np.bool_], float]]:
        """Mask (H, W) bool and IoU after each of some clicks.

        Raises:
            MethodError: a file of the method has changed.
        """
        if method not in self._methods:
            spec = described(method, self._run.configuration["methods"][method])
            self._methods[method] = build(spec)
        player, ground_truth = self._methods[method], target.ground_truth()
        clicker = Clicker(ground_truth.mask, ground_truth.ignore)
        player.set_image(target.pixels())
        out = []
        for click in clicks:
            player.add_click(*click)
            mask = player.mask.copy()
            out.append((mask, clicker.iou(mask)))
        return out


def side_by_side(
    player: Player, dataset: str, outcome: Outcome, methods: Sequence[tuple[str, str]]
) -> list[Picture]:
    """The paper's figure 5: every method after the same clicks, then the ground truth.

    Args:
        player: of the run.
        dataset: of the object.
        outcome: whose clicks to play.
        methods: (name, title).
    """
    target = player.target(dataset, outcome.name)
    pixels = target.pixels()
    out = []
    for name, title in methods:
        mask, iou = player.play(target, name, outcome.clicks)[-1]
        out.append(
            Picture(f"{title}: {100 * iou:.0f} %", draw_overlay(pixels, mask, outcome.clicks))
        )
    return [*out, Picture("drawn by people", draw_overlay(pixels, target.ground_truth().mask))]


def before_and_after_cut(
    player: Player, dataset: str, outcome: Outcome, methods: tuple[str, str]
) -> list[list[Picture]]:
    """The paper's figure 8: a row without and a row with graph cut, a picture per click."""
    target = player.target(dataset, outcome.name)
    pixels = target.pixels()
    rows = []
    for method, title in zip(methods, ("network > 0.5", "after the cut"), strict=True):
        played = player.play(target, method, outcome.clicks)
        rows.append(
            [
                Picture(
                    f"{title}, {k} click{'s' * (k > 1)}: {100 * iou:.0f} %",
                    draw_overlay(pixels, mask, outcome.clicks[:k]),
                )
                for k, (mask, iou) in enumerate(played, 1)
            ]
        )
    return rows


def selection(player: Player, dataset: str, outcome: Outcome, method: str) -> list[Picture]:
    """What was selected in the end with all clicks, and the ground truth."""
    target = player.target(dataset, outcome.name)
    pixels = target.pixels()
    mask, iou = player.play(target, method, outcome.clicks)[-1]
    count = len(outcome.clicks)
    caption = f"{outcome.name}: {100 * iou:.0f} % after {count} click{'s' * (count > 1)}"
    return [
        Picture(caption, draw_overlay(pixels, mask, outcome.clicks)),
        Picture("drawn by people", draw_overlay(pixels, target.ground_truth().mask)),
    ]
