"""Where photographs come from in training, and the order in which they are drawn."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clickcut_train.data.photo import Photo
from clickcut_train.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PhotoSource(Protocol):
    """Photographs by their number; safe to use from several threads.

    Attributes:
        weights: (N,) float64, times that each photo is drawn in an epoch.
        objects: (N,) int64, instances of each photo.
        groups: (N,) int64, photos of one group are near one another: in one shard.
        window: groups that are mixed at a time; 0: all of them.
    """

    weights: Floats
    objects: Ints
    groups: Ints
    window: int

    def __len__(self) -> int: ...

    def photo(self, index: int) -> Photo:
        """The photo number `index`, from 0.

        Raises:
            DataError: it cannot be read; the message says what to do.
        """


class MemorySource:
    """Photographs that are held in memory: about 40 kB each at a long side of 400 pixels.

    Args:
        photos: at least one.
        weights: times that each is drawn in an epoch; 1 when None.
    """

    def __init__(self, photos: Sequence[Photo], weights: Sequence[float] | None = None) -> None:
        if not photos:
            raise DataError("there is no photograph with an object to train on")
        self._photos = tuple(photos)
        count = len(self._photos)
        self.weights = np.ones(count) if weights is None else np.array(weights, np.float64)
        if self.weights.shape != (count,) or not (self.weights > 0).all():
            raise DataError(f"{count} photographs need as many weights, all above 0")
        self.objects = np.array([len(p.rles) for p in self._photos], np.int64)
        self.groups = np.zeros(count, np.int64)
        self.window = 0

    def __len__(self) -> int:
        return len(self._photos)

    def photo(self, index: int) -> Photo:
        """See `PhotoSource.photo`."""
        return self._photos[index]


class MixedSource:
    """Several sources as one; their groups are spread so that every stretch holds its share."""

    def __init__(self, sources: Sequence[PhotoSource]) -> None:
        self._sources = tuple(sources)
        self._starts = np.cumsum([0, *(len(s) for s in self._sources)])
        self.weights = np.concatenate([s.weights for s in self._sources])
        self.objects = np.concatenate([s.objects for s in self._sources])
        self.window = min((s.window for s in self._sources if s.window), default=0)
        count = max(_group_count(s) for s in self._sources)
        self.groups = np.concatenate([_spread(s, count) for s in self._sources])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def photo(self, index: int) -> Photo:
        """See `PhotoSource.photo`."""
        which = int(np.searchsorted(self._starts, index, "right")) - 1
        return self._sources[which].photo(index - int(self._starts[which]))


def _group_count(source: PhotoSource) -> int:
    return int(source.groups.max()) + 1


def _spread(source: PhotoSource, count: int) -> Ints:
    """The groups of a source renumbered to [0, count)."""
    own = _group_count(source)
    if own == 1:  # in memory: near everything
        return np.arange(len(source), dtype=np.int64) % count
    return source.groups * count // own


class EachObject:
    """A source that shows every object of another one equally often: the paper's training pairs.

    The paper makes N_pairs = 15 pairs of image and clicks for each object (sections 3.2 and 4). An
    epoch of this source holds each object `pairs` times, times the weight of its photo; `photo(i)`
    says with `Photo.chosen` which object is to be selected.
    """

    def __init__(self, source: PhotoSource, pairs: int) -> None:
        self._source = source
        self._starts = np.cumsum([0, *source.objects])
        self.weights = np.repeat(source.weights * pairs, source.objects)
        self.objects = np.ones(len(self.weights), np.int64)
        self.groups = np.repeat(source.groups, source.objects)
        self.window = source.window

    def __len__(self) -> int:
        return int(self._starts[-1])

    def photo(self, index: int) -> Photo:
        """See `PhotoSource.photo`."""
        which = int(np.searchsorted(self._starts, index, "right")) - 1
        return replace(self._source.photo(which), chosen=index - int(self._starts[which]))


def share_of_several(source: PhotoSource) -> float:
    """The part of an epoch that is photos with several objects, 0 to 1."""
    return float(source.weights[source.objects > 1].sum() / source.weights.sum())


def set_share_of_several(source: PhotoSource, share: float) -> None:
    """Make photos with several objects this share of an epoch, which stays as long as it was.

    Raises:
        DataError: all photos have several objects, or none has.
    """
    now = share_of_several(source)
    if not 0 < now < 1:
        which = "every photo has" if now else "no photo has"
        raise DataError(f"data.several is {share:g}, but {which} several objects; leave it at 0")
    several = source.objects > 1
    source.weights = source.weights * np.where(several, share / now, (1 - share) / (1 - now))


def epoch_length(source: PhotoSource) -> int:
    """Photos of one epoch: the sum of the weights, at least 1."""
    return max(1, round(float(source.weights.sum())))


def epoch(source: PhotoSource, rng: np.random.Generator) -> Ints:
    """The photo numbers of one epoch in a random order: (epoch_length(source),) int64.

    Each photo occurs as often as its weight says, the fraction by chance. With a `window`, groups
    come in a random order and only the photos of `window` groups at a time are mixed.
    """
    length = epoch_length(source)
    shuffled = rng.permutation(len(source))
    # Systematic sampling: of the running sum of the weights, photos take the whole numbers.
    edges = np.cumsum(source.weights[shuffled]) * (length / source.weights.sum())
    edges = np.floor(edges + rng.random()).astype(np.int64)
    edges[-1] = length
    drawn = rng.permutation(np.repeat(shuffled, np.diff(edges, prepend=0)))
    if not source.window:
        return drawn
    turn = rng.permutation(_group_count(source))[source.groups[drawn]] // source.window
    return drawn[np.argsort(turn, kind="stable")]


class Order:
    """An endless, deterministic sequence of photo numbers: a fresh permutation for every epoch.

    `order[n]` depends on the source's weights and groups, the seed and n alone, so that any worker
    can compute any part of it. Safe to use from several threads.
    """

    def __init__(self, source: PhotoSource, seed: int) -> None:
        self._source, self._seed = source, seed
        self.epoch_length = epoch_length(source)
        self._kept: dict[int, Ints] = {}
        self._lock = threading.Lock()

    def __getitem__(self, n: int) -> int:
        which, at = divmod(n, self.epoch_length)
        with self._lock:
            if which not in self._kept:
                while len(self._kept) > 1:  # around the end of an epoch, two are in use
                    del self._kept[min(self._kept)]
                self._kept[which] = epoch(self._source, np.random.default_rng([self._seed, which]))
            return int(self._kept[which][at])


def order(source: PhotoSource, seed: int) -> Order:
    """The order in which the photos of `source` are drawn with this seed."""
    return Order(source, seed)
