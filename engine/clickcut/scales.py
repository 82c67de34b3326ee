"""The pixels of an image: at full resolution and, of a large JPEG file, reduced by its codec."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.region import Region


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """An image that its codec has decoded at a fraction of its resolution.

    Pixel (i, j) shows the `factor` x `factor` image pixels from (x0 + factor i, y0 + factor j);
    those of the outermost columns and rows may lie partly outside the image.

    Attributes:
        pixels: (h, w, 3) uint8, RGB, contiguous, as displayed.
        factor: image pixels per pixel, along each side.
        x0: image column at which the first column begins; <= 0.
        y0: image row at which the first row begins; <= 0.
    """

    pixels: NDArray[np.uint8]
    factor: int
    x0: int = 0
    y0: int = 0

    def box_of(self, region: Region) -> tuple[float, float, float, float]:
        """Return left, top, width and height of an image region in these pixels."""
        return (
            (region.x0 - self.x0) / self.factor,
            (region.y0 - self.y0) / self.factor,
            region.width / self.factor,
            region.height / self.factor,
        )


class Scales:
    """An image at the scales that it was decoded at. Thread-safe.

    With a reduced picture, the full one is decoded when it is needed. Which of them something is
    computed from must depend on the image alone, never on whether the full one is there: masks are
    then the same whenever it comes.

    Args:
        height: rows at full resolution.
        width: columns at full resolution.
        full: (height, width, 3) uint8, RGB, contiguous; None to decode it later.
        reduced: None if there is none.
        decode: returns the full picture; called once, unless it raises.
        held_bytes: memory that `decode` holds, bytes.

    Attributes:
        height: rows at full resolution.
        width: columns at full resolution.
        reduced: the picture reduced by its codec; None if there is none.
    """

    def __init__(
        self,
        height: int,
        width: int,
        full: NDArray[np.uint8] | None = None,
        reduced: Reduced | None = None,
        decode: Callable[[], NDArray[np.uint8]] | None = None,
        held_bytes: int = 0,
    ) -> None:
        self.height, self.width = height, width
        self.reduced = reduced
        self._full = full
        self._decode = decode
        self._held_bytes = held_bytes
        self._lock = threading.Lock()

    @staticmethod
    def of(pixels: NDArray[np.uint8]) -> Scales:
        """Return the scales of a picture that is there already, (H, W, 3) uint8."""
        return Scales(pixels.shape[0], pixels.shape[1], pixels)

    @property
    def is_complete(self) -> bool:
        """Whether the full picture has been decoded."""
        return self._full is not None

    @property
    def full(self) -> NDArray[np.uint8]:
        """The full picture, (H, W, 3) uint8, RGB, contiguous; decoded now if it has not been.

        Raises:
            ImageError: it cannot be decoded.
            BusyError: too little memory to decode it now.
        """
        if self._full is None:
            with self._lock:  # a second thread waits for the first one's result
                if self._full is None:
                    if self._decode is None:
                        raise ValueError("there is neither a full picture nor a way to decode it")
                    self._full = self._decode()
                    self._decode, self._held_bytes = None, 0
        return self._full

    @property
    def nbytes(self) -> int:
        """Memory in bytes; the full picture counts before it is decoded."""
        reduced = 0 if self.reduced is None else self.reduced.pixels.nbytes
        return 3 * self.height * self.width + reduced + self._held_bytes
