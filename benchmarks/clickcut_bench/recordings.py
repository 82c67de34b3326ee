"""Click sequences of real sessions, with what the network gave for each click."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import BundleMetadata
from clickcut.demo import packaged_photograph
from clickcut.events import Prompts
from clickcut.images import prepare_pixels
from clickcut.predictor import Predictor
from clickcut.region import Region
from clickcut.session import ClickSession
from clickcut_eval.clicker import Clicker
from clickcut_eval.datasets import open_dataset

Photograph = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]
"""(H, W, 3) uint8 RGB; the object on it and the pixels to ignore, (H, W) bool."""


@dataclass(frozen=True)
class Click:
    """What a click gives to the cut; see `clickcut.cut.Cut.solve`."""

    logits: NDArray[np.float32]
    region: Region
    seeds: NDArray[np.int32]


@dataclass(frozen=True)
class Recording:
    """The clicks of one session."""

    pixels: NDArray[np.uint8]
    clicks: list[Click]
    cut_lambda: float
    seed_radius: float


class _Tap:
    """A predictor that keeps the last logits."""

    def __init__(self, inner: Predictor) -> None:
        self.metadata: BundleMetadata = inner.metadata
        self.backend = inner.backend
        self.logits = np.empty((0, 0), np.float32)
        self._inner = inner

    def warm_up(self) -> None:
        self._inner.warm_up()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        out = self._inner.predict(batch)
        self.logits = out[0].copy()
        return out


def record(photograph: Photograph, predictor: Predictor, count: int) -> Recording:
    """Play a session of `count` clicks at the deepest error."""
    pixels, mask, ignore = photograph
    tap = _Tap(predictor)
    session = ClickSession(prepare_pixels(pixels), tap)
    clicker, clicks = Clicker(mask, ignore), []
    for _ in range(count):
        wanted = clicker.next_click(session.mask)
        if wanted is None:
            break
        session.click(*wanted)
        shown = session.probability
        if shown is not None:
            points = Prompts.of(session.events).points.items()
            seeds = np.array([(x, y, 1 if sign else -1) for (x, y), sign in points], np.int32)
            clicks.append(Click(tap.logits, shown[0], seeds))
    parameters = session.parameters
    return Recording(pixels, clicks, parameters.cut_lambda, parameters.seed_radius)


def photographs(folder: Path | None, limit: int) -> Iterator[Photograph]:
    """Photographs of a folder in GrabCut's layout, or the packaged one."""
    if folder is None:
        pixels, mask = packaged_photograph()
        yield pixels, mask, np.zeros_like(mask)
        return
    _, targets = open_dataset("grabcut", folder)
    for target in targets[:: max(1, len(targets) // limit)][:limit]:
        truth = target.truth()
        yield target.pixels(), truth.mask, truth.ignore


def scaled(photograph: Photograph, pixels: int) -> Photograph:
    """The photograph with about this many pixels, in its own proportions."""
    image, mask, ignore = photograph
    factor = math.sqrt(pixels / mask.size)
    size = round(mask.shape[1] * factor), round(mask.shape[0] * factor)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = [
        cv2.resize(part.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for part in (mask, ignore)
    ]
    return cv2.resize(image, size, interpolation=how).astype(np.uint8), small[0], small[1]
