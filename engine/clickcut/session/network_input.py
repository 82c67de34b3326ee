"""The input of the network: colours, guidance maps and previous probability of a region.

All channels of a view lie in one (1, C, S, S) float32 buffer, updated in place. The buffers belong
to a thread and are used for all its sessions, so that open sessions need none.
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
from clickcut.resample import enlarge_box, resize
from clickcut.shrink import MIN_REDUCTION, shrink, shrink_box

MAX_ENLARGED = 1.6
"""Maximum network pixels per pixel of the reduced picture, along each side, where that may be
enlarged: the sharpest that an object can be seen before the image is decoded in full."""

KEPT_INPUTS = 8
"""Number of buffers that a thread keeps, those used last. A model has at most 6 (a region, 4 views
and a crop), of 5 MB each at 384 pixels."""


class NetworkInput:
    """Input buffer of one thread, for one view and one kind of model.

    Attributes:
        buffer: (1, C, S, S) float32, input of `Predictor.predict`.
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
        self._coarse = False

    def show(
        self,
        image: PreparedImage,
        region: Region,
        positive: Sequence[Point],
        negative: Sequence[Point],
        probability: NDArray[np.float32] | None,
        coarse: bool = False,
    ) -> None:
        """Fill the buffer with a region, its clicks and the previous probability.

        Args:
            image: source of the colours.
            region: what the network sees.
            positive: positive points, (x, y) pixels of the image; those outside the region are
                ignored.
            negative: negative points.
            probability: (S, S) float32 over the region; None = 0 everywhere.
            coarse: take the reduced picture even if it must be enlarged, see `MAX_ENLARGED`.
        """
        shown = None if self._image is None else self._image()
        if shown is not image or (region, coarse) != (self._region, self._coarse):
            self._region = None  # until it is complete
            self._show_colours(image, region, coarse)
            self._image, self._region, self._coarse = weakref.ref(image), region, coarse
        self._positive.show(self._to_network(positive, region))
        self._negative.show(self._to_network(negative, region))
        if self._takes_probability:
            self.buffer[0, 5] = 0.0 if probability is None else probability

    def _show_colours(self, image: PreparedImage, region: Region, coarse: bool) -> None:
        size = self.buffer.shape[2]
        side, reduced = min(region.width, region.height), image.scales.reduced
        if reduced is not None and side >= reduced.factor * size:
            scaled = shrink_box(reduced.pixels, reduced.box_of(region), (size, size))
        elif reduced is not None and coarse and MAX_ENLARGED * side >= reduced.factor * size:
            scaled = enlarge_box(reduced.pixels, reduced.box_of(region), size)
        elif side >= size and region.area >= MIN_REDUCTION * size**2:
            scaled = shrink(image.pixels, region, size)
        else:
            scaled = resize(image.pixels[region.slices], size)
        colours = self.buffer[0, :3]
        np.multiply(scaled.transpose(2, 0, 1), self._scale, out=colours)
        colours += self._offset

    def _to_network(self, points: Sequence[Point], region: Region) -> list[Point]:
        """Return the network pixels that contain the centres of image pixels."""
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
def network_input(metadata: BundleMetadata, number: int = 0) -> Iterator[NetworkInput]:
    """Lend an input buffer of the calling thread for a model, inside `with`.

    It holds what the thread last showed a model in the buffer of this number. After an error it is
    discarded, since it may be incomplete.

    Args:
        metadata: of the model.
        number: views that usually show the same region as at the click before have one each.
    """
    size, guidance = metadata.input_size, metadata.guidance
    scale, offset = metadata.pixel_scale, metadata.pixel_offset
    key = size, metadata.channels, guidance, scale, offset, number
    kept: dict[object, NetworkInput] = _inputs.__dict__.setdefault("kept", {})
    found = kept.pop(key, None) or NetworkInput(metadata)
    yield found
    kept[key] = found  # most recently used last
    while len(kept) > KEPT_INPUTS:
        del kept[next(iter(kept))]
