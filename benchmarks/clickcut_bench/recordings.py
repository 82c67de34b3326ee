"""Click sequences of real sessions, with what the network gave for each click."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.images import prepare_pixels
from clickcut.region import Region
from clickcut.session import ClickSession
from clickcut.session.events import Prompts
from clickcut_bench.photographs import Photograph
from clickcut_eval.clicker import Clicker
from clickcut_eval.recording import RecordingPredictor


@dataclass(frozen=True)
class RecordedClick:
    """What a click gives to the cut; see `clickcut.cut.Cut.solve`."""

    logits: NDArray[np.float32]
    region: Region
    seeds: NDArray[np.int32]


@dataclass(frozen=True)
class Recording:
    """The clicks of one session."""

    pixels: NDArray[np.uint8]
    clicks: list[RecordedClick]
    cut_lambda: float
    seed_radius: float


def record(photograph: Photograph, predictor: Predictor, count: int) -> Recording:
    """Play a session of `count` clicks at the deepest error."""
    pixels, mask, ignore = photograph
    recorder = RecordingPredictor(predictor)
    session = ClickSession(prepare_pixels(pixels), recorder)
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
            clicks.append(RecordedClick(recorder.logits[-1][0], shown[0], seeds))
    parameters = session.parameters
    return Recording(pixels, clicks, parameters.cut_lambda, parameters.seed_radius)
