"""Decode large JPEG files at a reduced scale first, at full resolution when that is needed.

The codec can leave out the high frequencies of each block (DCT scaling). That takes a third of
the time, and the whole of a large photograph is more than the network and a cut of it can use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickcut.image_file.decode import render, render_reduced
from clickcut.image_file.parts import Parts
from clickcut.image_file.tones import Window
from clickcut.scales import Reduced, Scales

MIN_REDUCED_PIXELS = 2_000_000
"""Minimum pixels of a reduced picture: it then shows all but the closest windows around a first
click, and saves most of the time (benchmarks/results/first_click.md)."""

FACTORS = (4, 2)
"""Reductions, largest first."""

Admit = Callable[[Parts], AbstractContextManager[None]]
"""Reserves the memory to decode an examined file."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An image file that can be worked with.

    Attributes:
        scales: its pixels.
        window: see `Decoded`.
    """

    scales: Scales
    window: Window | None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The full picture, see `Scales.full`."""
        return self.scales.full


def reduction_of(image: Parts, window: Window | None = None) -> int:
    """Return the factor by which a file is decoded reduced; 1 if it is decoded in full at once.

    Args:
        image: the examined file.
        window: that was requested.
    """
    if image.kind != "JPEG" or not image.plain or not image.light or window is not None:
        return 1
    pixels = image.width * image.height
    return next((f for f in FACTORS if pixels >= MIN_REDUCED_PIXELS * f * f), 1)


def open_lazily(image: Parts, window: Window | None = None, admit: Admit | None = None) -> Opened:
    """Decode an examined file: reduced if `reduction_of` says so, otherwise in full.

    Decoding at a reduced scale reads the whole file, so a file that is truncated or damaged is
    found as in full.

    Args:
        image: the examined file.
        window: see `clickcut.image_file.decode.decode`.
        admit: reserves the memory for decoding in full later.

    Raises:
        ImageError: see `render`.
    """
    factor = reduction_of(image, window)
    if factor == 1:
        decoded = render(image, window)
        return Opened(Scales.of(decoded.pixels), decoded.window)

    def decode() -> NDArray[np.uint8]:
        with admit(image) if admit else contextlib.nullcontext():
            return render(image).pixels

    pixels = render_reduced(image, factor)
    height, width = image.shape[:2]
    # A picture that is displayed mirrored begins with what was its last, partial pixel.
    mirrored_x = image.orientation in (2, 3, 6, 7)
    mirrored_y = image.orientation in (3, 4, 7, 8)
    reduced = Reduced(
        pixels,
        factor,
        width - factor * pixels.shape[1] if mirrored_x else 0,
        height - factor * pixels.shape[0] if mirrored_y else 0,
    )
    return Opened(Scales(height, width, None, reduced, decode, len(image.data)), None)
