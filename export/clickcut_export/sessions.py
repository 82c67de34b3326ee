"""What the network really gets: its inputs in simulated click sessions, recorded in the engine.

A session goes through `clickcut.session.ClickSession`: regions, guidance maps and the previous
probability are those of the engine, at the first click, at the second, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from clickcut.backends import Predictor
from clickcut.images import prepare_pixels
from clickcut.session import ClickSession
from clickcut_eval.clicker import Clicker
from clickcut_eval.recording import RecordingPredictor
from clickcut_eval.targets import Target

Batch = NDArray[np.float32]

MAX_CLICKS = 8
"""Clicks of the longest recorded session; later ones look like these."""


def read_targets(specs: Iterable[str], count: int) -> list[Target]:
    """Objects of training data, spread evenly over all of them.

    Args:
        specs: data sets that can be trained on, see `clickcut_eval.data_spec`.
        count: objects at most.

    Raises:
        DatasetError: another spelling, or a folder that is not as it should be.
    """
    from clickcut_train.data.config import DataConfig, parse_source
    from clickcut_train.data.open import open_sources
    from clickcut_train.validation import held_out

    source, _ = open_sources(DataConfig(sources=tuple(map(parse_source, specs))))
    return list(held_out(source, count))


def split(targets: Sequence[Target], every: int) -> tuple[list[Target], list[Target]]:
    """Two parts that share no photograph: the most, and one of `every`."""
    photographs = list(dict.fromkeys(t.image for t in targets))
    second = set(photographs[every // 2 :: every])
    return (
        [t for t in targets if t.image not in second],
        [t for t in targets if t.image in second],
    )


def record(target: Target, predictor: Predictor, clicks: int) -> list[Batch]:
    """Let a simulated user (rule `deepest`) select an object; what the network got at each click.

    Args:
        target: the object.
        predictor: answers, so that later clicks follow from the network's own errors.
        clicks: at most; fewer when nothing is wrong any more.

    Returns:
        (1, C, S, S) float32 for each click, as `Predictor.predict` takes it.
    """
    recorder = RecordingPredictor(predictor)
    session = ClickSession(prepare_pixels(target.pixels()), recorder)
    ground_truth = target.ground_truth()
    clicker = Clicker(ground_truth.mask, ground_truth.ignore)
    for _ in range(clicks):
        click = clicker.next_click(session.mask)
        if click is None:
            break
        session.click(*click)
    return recorder.inputs


def record_all(targets: Iterable[Target], predictor: Predictor, seed: int = 0) -> list[Batch]:
    """`record` with a random number of clicks, 1 to `MAX_CLICKS`, for each target."""
    rng = np.random.default_rng(seed)
    return [
        batch
        for target in targets
        for batch in record(target, predictor, int(rng.integers(1, MAX_CLICKS + 1)))
    ]
