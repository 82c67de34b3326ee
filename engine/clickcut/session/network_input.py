"""The network's input: colours, guidance maps and previous probability of a region.

Everything is laid out once in one (1, C, S, S) float32 buffer and updated in place. A thread has
one buffer for all sessions that it works on, so that an open session does not hold one.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import BundleMetadata
from clickcut.clicks import Point
from clickcut.images import PreparedImage
from clickcut.maps import guidance_map
from clickcut.region import Region
from clickcut.resample import resize

KEPT_INPUTS = 2
"""Buffers that a thread keeps: one for each kind of model that it worked with last."""


class NetworkInput:
    """Input buffer of one thread, for one kind of model.

    Attributes:
        buffer: (1, C, S, S) float32, what `Predictor.predict` takes.
    """

    def __init__(self, metadata: BundleMetadata) -> None:
        size = metadata.input_size
        self._scale = np.float32(metadata.pixel_scale)
        self._offset = np.float32(metadata.pixel_offset)
        self._takes_probability = metadata.takes_probability
        self.buffer = np.zeros((1, len(metadata.channels), size, size), np.float32)
        guidance = metadata.guidance
        self._positive, self._negative = (
            guidance_map(guidance.encoding, self.buffer[0, c], guidance.radius) for c in (3, 4)
        )
        self._image: weakref.ref[PreparedImage] | None = None
        self._region: Region | None = None

    def show(
        self,
        image: PreparedImage,
        region: Region,
        positive: Sequence[Point],
        negative: Sequence[Point],
        probability: NDArray[np.float32] | None,
    ) -> None:
        """Bring the buffer in line with a region, its clicks and the previous probability.

        Args:
            image: that is shown.
            region: what the network sees.
            positive: positive points, (x, y) pixels of the image; those outside the region are
                not shown.
            negative: negative points.
            probability: (S, S) float32 over the region; None = 0 everywhere.
        """
        shown = None if self._image is None else self._image()
        if shown is not image or region != self._region:
            self._region = None  # until all of it is there
            self._show_colours(image, region)
            self._image, self._region = weakref.ref(image), region
        self._positive.show(self._to_network(positive, region))
        self._negative.show(self._to_network(negative, region))
        if self._takes_probability:
            self.buffer[0, 5] = 0.0 if probability is None else probability

    def _show_colours(self, image: PreparedImage, region: Region) -> None:
        scaled = resize(image.pixels[region.slices], self.buffer.shape[2])
        colours = self.buffer[0, :3]
        np.multiply(scaled.transpose(2, 0, 1), self._scale, out=colours)
        colours += self._offset

    def _to_network(self, points: Sequence[Point], region: Region) -> list[Point]:
        """Image pixels -> the network pixels that hold their centres."""
        inside = [(x, y) for x, y in points if region.holds(x, y)]
        if not inside:
            return []
        size = self.buffer.shape[2]
        at = np.array(inside, np.float64) + 0.5 - (region.x0, region.y0)
        at *= (size / region.width, size / region.height)
        cells = np.clip(np.floor(at), 0, size - 1).astype(int)
        return [(int(x), int(y)) for x, y in cells]


_inputs = threading.local()


@contextmanager
def network_input(metadata: BundleMetadata) -> Iterator[NetworkInput]:
    """The calling thread's input buffer for a model, to be used inside `with`.

    It shows what the thread's last session on such a model left there. After an error it is
    dropped, since it may be half changed.
    """
    size, guidance = metadata.input_size, metadata.guidance
    scale, offset = metadata.pixel_scale, metadata.pixel_offset
    key = size, metadata.channels, guidance, scale, offset
    kept: dict[object, NetworkInput] = _inputs.__dict__.setdefault("kept", {})
    found = kept.pop(key, None) or NetworkInput(metadata)
    yield found
    kept[key] = found  # the last one used stands last
    while len(kept) > KEPT_INPUTS:
        del kept[next(iter(kept))]
