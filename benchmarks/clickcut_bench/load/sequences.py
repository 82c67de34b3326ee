"""Click sequences that the annotators play: photographs, and the clicks of a simulated user."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickcut.client import Client
from clickcut_bench.photographs import Photograph, photograph, scaled, targets
from clickcut_eval.clicker import Click, Clicker

JPEG_QUALITY = 92


@dataclass(frozen=True, eq=False)
class Sequence:
    """A photograph and clicks on it.

    Attributes:
        file: the photograph, JPEG.
        clicks: in order; at least one.
        masks: (H, W) bool after each click, as the server gave them when it had nothing else to
            do.
    """

    file: bytes
    clicks: tuple[Click, ...]
    masks: tuple[NDArray[np.bool_], ...]

    def upload(self, nonce: int) -> bytes:
        """Return the file with other bytes behind the image's end: the server does not hold it."""
        return self.file + nonce.to_bytes(8, "little")


def photographs(data: str, size: tuple[int, int] | None, count: int) -> list[Photograph]:
    """Return photographs with an object each.

    Args:
        data: as of `clickcut_bench.photographs.targets`; "" for the packaged photograph and
            objects that are generated.
        size: width and height that all are brought to; None: as they are.
        count: how many at most.
    """
    if data:
        found = [photograph(target) for target in targets(data)[:count]]
    else:
        packaged = photograph(targets("")[0])
        found = [packaged, *itertools.islice(_generated(packaged), count - 1)]
    return found if size is None else [scaled(p, *size) for p in found]


def _generated(packaged: Photograph) -> Iterator[Photograph]:
    """Yield ellipses with the photograph's texture on its blurred, mirrored copy."""
    pixels, mask, _ = packaged
    height, width = mask.shape
    blurred = np.asarray(cv2.GaussianBlur(pixels, (0, 0), width / 40)[:, ::-1], np.uint8)
    rng = np.random.default_rng(0)
    while True:
        shape = np.zeros((height, width), np.uint8)
        centre = (
            int(rng.integers(width // 4, 3 * width // 4)),
            int(rng.integers(height // 4, 3 * height // 4)),
        )
        axes = (
            int(rng.integers(width // 16, width // 4)),
            int(rng.integers(height // 16, height // 4)),
        )
        cv2.ellipse(shape, centre, axes, float(rng.integers(0, 180)), 0.0, 360.0, 1, -1)
        chosen = shape > 0
        yield (
            np.where(chosen[..., None], 255 - pixels, blurred).astype(np.uint8),
            chosen,
            np.zeros_like(chosen),
        )


def record(client: Client, shown: Photograph, clicks: int) -> Sequence | None:
    """Play a session at the deepest error and keep what it clicked and got.

    Args:
        client: of a server without other work.
        shown: what is clicked on.
        clicks: at most so many; fewer when nothing is wrong any more.

    Returns:
        The sequence; None when there is nothing to click.
    """
    pixels, mask, ignore = shown
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    file: bytes = cv2.imencode(".jpg", pixels[..., ::-1], quality)[1].tobytes()
    clicker = Clicker(mask, ignore)
    made: list[Click] = []
    masks: list[NDArray[np.bool_]] = []
    with client.open(file) as session:
        selected = np.zeros_like(mask)
        while len(made) < clicks and (click := clicker.next_click(selected)) is not None:
            x, y, positive = click
            selected = session.click(x, y, positive=positive)
            made.append(click)
            masks.append(selected)
    return Sequence(file, tuple(made), tuple(masks)) if made else None
