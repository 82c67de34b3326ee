"""The network's input for one session: colours, guidance maps and previous probability of a region.

Everything is laid out once in one (1, C, S, S) float32 buffer and updated in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clickcut.bundle import BundleMetadata
from clickcut.maps import Point, guidance_map
from clickcut.region import Region
from clickcut.resample import resize


class NetworkInput:
    """Input buffer of a session.

    Attributes:
        buffer: (1, C, S, S) float32, what `Predictor.predict` takes.
    """

    def __init__(self, pixels: NDArray[np.uint8], metadata: BundleMetadata) -> None:
        size = metadata.input_size
        self._pixels = pixels
        self._scale = np.float32(metadata.pixel_scale)
        self._offset = np.float32(metadata.pixel_offset)
        self._takes_probability = metadata.takes_probability
        self.buffer = np.zeros((1, len(metadata.channels), size, size), np.float32)
        guidance = metadata.guidance
        self._positive, self._negative = (
            guidance_map(guidance.encoding, self.buffer[0, c], guidance.radius) for c in (3, 4)
        )
        self._region: Region | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        # The maps' channels lie in the buffer.
        extra = sum(m.nbytes - m.channel.nbytes for m in (self._positive, self._negative))
        return self.buffer.nbytes + extra

    def show(
        self,
        region: Region,
        positive: Sequence[Point],
        negative: Sequence[Point],
        probability: NDArray[np.float32] | None,
    ) -> None:
        """Bring the buffer in line with a region, its clicks and the previous probability.

        Args:
            region: what the network sees.
            positive: positive points, (x, y) pixels of the image, inside the region.
            negative: negative points.
            probability: (S, S) float32 over the region; None = 0 everywhere.
        """
        if region != self._region:
            self._show_colours(region)
            self._region = region
        self._positive.show(self._to_network(positive, region))
        self._negative.show(self._to_network(negative, region))
        if self._takes_probability:
            self.buffer[0, 5] = 0.0 if probability is None else probability

    def _show_colours(self, region: Region) -> None:
        scaled = resize(self._pixels[region.slices], self.buffer.shape[2])
        colours = self.buffer[0, :3]
        np.multiply(scaled.transpose(2, 0, 1), self._scale, out=colours)
        colours += self._offset

    def _to_network(self, points: Sequence[Point], region: Region) -> list[Point]:
        """Image pixels -> the network pixels that hold their centres."""
        if not points:
            return []
        size = self.buffer.shape[2]
        at = np.array(points, np.float64) + 0.5 - (region.x0, region.y0)
        at *= (size / region.width, size / region.height)
        cells = np.clip(np.floor(at), 0, size - 1).astype(int)
        return [(int(x), int(y)) for x, y in cells]
