"""What the network really gets: its inputs in simulated click sessions, recorded in the engine.

A session goes through `clickcut.session.ClickSession`: regions, guidance maps and the previous
probability are those of the engine, at the first click, at the second, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

import clickcut
from clickcut.bundle import BundleMetadata
from clickcut.images import prepare_pixels
from clickcut.predictor import Predictor
from clickcut.session import ClickSession
from clickcut_eval.clicker import Clicker
from clickcut_eval.targets import Target
from clickcut_export.errors import ExportError

if TYPE_CHECKING:
    from clickcut_train.data.config import SourceConfig

Batch = NDArray[np.float32]

MAX_CLICKS = 8
"""Clicks of the longest recorded session; later ones look like these."""


def packaged_target() -> Target:
    """The photograph that comes with the engine, and the astronaut on it."""
    folder = Path(clickcut.__file__).parent / "assets"
    encoded = np.frombuffer((folder / "astronaut_mask.png").read_bytes(), np.uint8)
    mask = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)) > 127
    return Target.of("astronaut", folder / "astronaut.jpg", mask, np.zeros_like(mask))


def read_targets(specs: Iterable[str], count: int) -> list[Target]:
    """Objects of training data, spread evenly over all of them.

    Args:
        specs: `KIND:FOLDER[:SPLIT,SPLIT]` with a kind of `clickcut_train.data`, or a folder with
            `images/` and `masks/`.
        count: objects at most.

    Raises:
        DataError: a folder is not as it should be.
        ExportError: an unknown kind.
    """
    from clickcut_train.data.config import DataConfig
    from clickcut_train.data.open import open_sources
    from clickcut_train.validation import held_out

    source, _ = open_sources(DataConfig(sources=tuple(_source(s) for s in specs)))
    return list(held_out(source, count))


def _source(spec: str) -> SourceConfig:
    from clickcut_train.data.config import Kind, parse_source

    kind, separator, rest = spec.partition(":")
    if separator and kind in get_args(Kind):
        return parse_source(kind, rest)
    if separator and not Path(spec).exists():
        raise ExportError(
            f"--data {spec}: {kind} is not a kind of data set; there are "
            f"{', '.join(get_args(Kind))}, or give a folder with images/ and masks/"
        )
    return parse_source("folder", spec)


def split(targets: Sequence[Target], every: int) -> tuple[list[Target], list[Target]]:
    """Two parts that share no photograph: the most, and one of `every`."""
    photographs = list(dict.fromkeys(t.image for t in targets))
    second = set(photographs[every // 2 :: every])
    return (
        [t for t in targets if t.image not in second],
        [t for t in targets if t.image in second],
    )


class _Recorder:
    """A predictor that keeps what it is asked; see `clickcut.predictor.Predictor`."""

    def __init__(self, predictor: Predictor) -> None:
        self.metadata: BundleMetadata = predictor.metadata
        self.backend = predictor.backend
        self.inputs: list[Batch] = []
        self._predictor = predictor

    def warm_up(self) -> None:
        """As the predictor that it wraps."""
        self._predictor.warm_up()

    def predict(self, batch: Batch) -> Batch:
        """As the predictor that it wraps; keeps a copy of `batch`."""
        self.inputs.append(batch.copy())
        return self._predictor.predict(batch)


def record(target: Target, predictor: Predictor, clicks: int) -> list[Batch]:
    """Let a simulated user (rule `deepest`) select an object; what the network got at each click.

    Args:
        target: the object.
        predictor: answers, so that later clicks follow from the network's own errors.
        clicks: at most; fewer when nothing is wrong any more.

    Returns:
        (1, C, S, S) float32 for each click, as `Predictor.predict` takes it.
    """
    recorder = _Recorder(predictor)
    session = ClickSession(prepare_pixels(target.pixels()), recorder)
    truth = target.truth()
    clicker = Clicker(truth.mask, truth.ignore)
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
