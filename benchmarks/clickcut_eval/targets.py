"""What is selected in an evaluation: an object on a photograph, read when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickcut.images import decode


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The object as people drew it.

    Attributes:
        mask: (H, W) bool, the object.
        ignore: (H, W) bool, pixels that count neither way.
    """

    mask: NDArray[np.bool_]
    ignore: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Target:
    """One object to select. Small and picklable: pixels and masks are read where they are needed.

    Attributes:
        name: unique in its data set.
        image: path of the photograph.
        category: class name; "" where the data set has none.
        read: gives the ground truth; picklable.
    """

    name: str
    image: Path
    category: str
    read: Callable[[], GroundTruth]

    @staticmethod
    def of(
        name: str,
        image: Path,
        mask: NDArray[np.bool_],
        ignore: NDArray[np.bool_],
        category: str = "",
    ) -> Target:
        """A target whose masks, (H, W) bool, are in memory already."""
        return Target(name, image, category, partial(GroundTruth, mask, ignore))

    def pixels(self) -> NDArray[np.uint8]:
        """The photograph: (H, W, 3) uint8, RGB.

        Raises:
            ImageError: it cannot be read.
        """
        return decode(self.image.read_bytes())

    def ground_truth(self) -> GroundTruth:
        """The object's mask and the pixels to ignore.

        Raises:
            DatasetError: it cannot be read.
        """
        return self.read()


def packaged_target() -> Target:
    """The object on the photograph that comes with the engine."""
    from clickcut.commands.demo import ASSETS, packaged_photograph

    _, mask = packaged_photograph()
    image = Path(str(ASSETS / "astronaut.jpg"))
    return Target.of("astronaut", image, mask, np.zeros_like(mask))
