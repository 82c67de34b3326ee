"""Pictures of training samples: what a network is shown and asked (Figures 1 and 2 of the paper).

A row is a sample: the crop with its clicks (green on the object, red on the background) and the
object's outline in cyan, the guidance maps of positive and of negative clicks, and the target.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import Guidance
from clickcut.maps import guidance_map
from clickcut.overlay import contact_sheet, draw_overlay
from clickcut_train.data.photo import Photo
from clickcut_train.data.source import EachObject, PhotoSource, order
from clickcut_train.errors import DataError
from clickcut_train.sample_options import SampleOptions
from clickcut_train.samples import Sample, draw

Cell = tuple[str, NDArray[np.uint8]]

STRATEGIES = {1: "in the ring", 2: "on other objects", 3: "all around (eq. 2)"}

DISTANCE = Guidance(encoding="distance", radius=0)
"""The paper's maps."""
DISCS = Guidance(encoding="disc", radius=5)
"""Those of the default model."""

_COLUMNS = 4
_TRIES = 1000
_VOID_BRIGHTNESS = 128


def strategy_sheet(
    source: PhotoSource, options: SampleOptions, objects: int, size: int, seed: int
) -> NDArray[np.uint8]:
    """A row for each negative strategy of the paper, for each of a few objects.

    Photos with several objects are preferred: on others, strategy 2 has nowhere to click.

    Args:
        source: photos.
        options: how samples are drawn; whole images unless it zooms.
        objects: how many are shown.
        size: side of a crop, pixels.
        seed: of everything random.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: no photo gives a sample.
    """
    shown = islice(_objects(source, options, size, seed), objects)
    return sheet([c for photo in shown for c in strategy_cells(photo, options, size, seed)], size)


def strategy_cells(photo: Photo, options: SampleOptions, size: int, seed: int) -> list[Cell]:
    """A row of four pictures for each negative strategy, all of the same crop of a photo."""
    cells: list[Cell] = []
    for strategy, where in STRATEGIES.items():
        only = options.model_copy(
            update={
                "first": "paper",
                "strategies": tuple(float(strategy == s) for s in STRATEGIES),
                "damaged": 0.0,
            }
        )
        sample = draw(photo, size, only, np.random.default_rng(seed))
        if sample is not None:
            cells += sample_cells(sample, DISTANCE, f"{photo.name}, strategy {strategy}: {where}")
    return cells


def sample_sheet(
    source: PhotoSource,
    options: SampleOptions,
    guidance: Guidance,
    count: int,
    size: int,
    seed: int,
) -> NDArray[np.uint8]:
    """A row for each of a few samples, drawn as a run with these options begins.

    Args:
        source: photos.
        options: how samples are drawn.
        guidance: the maps that the network is shown.
        count: how many are shown.
        size: side of a crop, pixels.
        seed: of the order and of the samples.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: no photo gives a sample.
    """
    turns = EachObject(source, options.pairs_per_object) if options.pairs_per_object else source
    numbers = order(turns, seed)
    cells: list[Cell] = []
    for n in range(count + _TRIES):
        photo = turns.photo(numbers[n])
        sample = draw(photo, size, options, np.random.default_rng([seed, n]))
        if sample is not None:
            cells += sample_cells(sample, guidance, photo.name)
        if len(cells) == count * _COLUMNS:
            break
    return sheet(cells, size)


def _objects(source: PhotoSource, options: SampleOptions, size: int, seed: int) -> Iterator[Photo]:
    """Photos with the object to select chosen, that give a sample; those with several first."""
    each = EachObject(source, 1)
    numbers = order(each, seed)
    alone: list[Photo] = []
    for n in range(min(numbers.epoch_length, _TRIES)):
        photo = each.photo(numbers[n])
        if draw(photo, size, options, np.random.default_rng(seed)) is None:
            continue
        if len(photo.rles) > 1:
            yield photo
        else:
            alone.append(photo)
    yield from alone


def sample_cells(sample: Sample, guidance: Guidance, caption: str) -> list[Cell]:
    """The four pictures of a sample with their captions, (S, S, 3) uint8 RGB each."""
    clicks = [
        (float(x), float(y), positive)
        for points, positive in ((sample.positive, True), (sample.negative, False))
        for x, y in points
    ]
    target = np.where(sample.target, 255, np.where(sample.ignore, _VOID_BRIGHTNESS, 0))
    start = " from a damaged mask" if sample.probability.any() else ""
    ignored = " (grey: void)" if sample.ignore.any() else ""
    return [
        (caption, draw_overlay(sample.image, sample.target, clicks)),
        (f"U1: {len(sample.positive)} positive{start}", _map(sample, guidance, sample.positive)),
        (f"U0: {len(sample.negative)} negative", _map(sample, guidance, sample.negative)),
        (f"target{ignored}", _grey(target)),
    ]


def _map(sample: Sample, guidance: Guidance, points: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """The map of clicks as the network sees it.

    A distance map is black at a click and white at 255 pixels, as in the paper; a disc is white.
    """
    channel = np.empty(sample.target.shape, np.float32)
    guidance_map(guidance.encoding, channel, guidance.radius).show(points)
    return _grey(channel if guidance.encoding == "distance" else 255 * channel)


def _grey(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


def sheet(cells: list[Cell], size: int) -> NDArray[np.uint8]:
    """Rows of four pictures, `size` pixels wide each, as one: (H, W, 3) uint8, RGB."""
    if not cells:
        raise DataError(
            "no photo gave an object to show: they are too small on the crop, or min_area leaves "
            "all of them out"
        )
    return contact_sheet(cells, columns=_COLUMNS, width=size)
