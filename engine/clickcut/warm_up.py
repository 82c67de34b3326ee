"""Warm up models: compile kernels and run everything that is slow the first time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from clickcut import cut, kernels
from clickcut.backends import Predictor
from clickcut.images import prepare_pixels
from clickcut.maps import REBUILD_FROM, DiscMap, DistanceMap
from clickcut.polygons import to_polygons
from clickcut.region import Region
from clickcut.session import ClickSession
from clickcut.shrink import mean_of_blocks, shrink

SAY_EVERY = 1.0
"""Minimum seconds between two progress messages."""


def warm_up(predictor: Predictor, solver: str = "grid") -> None:
    """Compile or load all kernels, warm the back-end, run one short session.

    Args:
        predictor: to warm up.
        solver: of the cut.

    Raises:
        BundleError: the network does not give finite logits of the right shape.
        CutError: the solver is unknown or not installed.
    """
    predictor.warm_up()
    cut.warm_up(solver)
    channel = np.empty((32, 32), np.float32)
    many = [(k, k) for k in range(REBUILD_FROM + 1)]
    for points in (many, many[:-1], many[:-2], many):
        DistanceMap(channel).show(points)
    moving = DistanceMap(channel)
    moving.show([(1, 1)])
    moving.show([(1, 1), (2, 2)])
    moving.show([(2, 2)])
    DiscMap(channel, 3).show(many)

    flat = np.zeros((9, 9, 3), np.uint8)
    shrink(flat, Region(0, 0, 9, 9), 3)
    mean_of_blocks(flat, 3)

    y, x = np.mgrid[:120, :160]
    disc = ((x - 80) ** 2 + (y - 60) ** 2 < 900).astype(np.uint8)
    pixels = np.repeat(120 * disc[:, :, None] + 60, 3, axis=2).astype(np.uint8)
    session = ClickSession(prepare_pixels(pixels), predictor, solver=solver)
    session.click(80, 60)
    session.click(20, 20, positive=False)
    session.undo()
    to_polygons(disc.view(np.bool_), 1.0, valid=True)


def warm_up_all(predictors: Sequence[Predictor], solver: str, say: Callable[[str], None]) -> None:
    """Warm up several models and report progress.

    Args:
        predictors: to warm up.
        solver: of the cut.
        say: see `reported`.

    Raises:
        BundleError, CutError: as `warm_up`.
    """
    with reported(say):
        for predictor in predictors:
            warm_up(predictor, solver)


@contextmanager
def reported(say: Callable[[str], None]) -> Iterator[None]:
    """Report how many kernels are ready, at most once per `SAY_EVERY` seconds.

    Args:
        say: called with a progress message; never if everything is ready at once.
    """
    said = time.monotonic()

    def tell() -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_EVERY:
            said = time.monotonic()
            done, total = kernels.ready()
            say(f"warming up: {done} of at most {total} kernels are ready")

    with kernels.watched(tell):
        yield
