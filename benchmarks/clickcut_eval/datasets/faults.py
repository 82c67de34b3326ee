"""Collecting every fault of a data set before complaining: an evaluation needs all of it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from clickcut_eval.datasets.jpeg_holes import has_hole
from clickcut_eval.errors import DatasetError

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


class Faults:
    """Everything that is wrong with a data set.

    Args:
        root: the folder, for the message.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._faults: list[str] = []
        self._whole: set[Path] = set()

    def add(self, fault: str) -> None:
        """Note a fault."""
        self._faults.append(fault)

    def compare_sizes(self, image: Path, labels: Path) -> None:
        """Note when a photograph and its label image cannot be opened or differ in size.

        Only headers are read. A photograph with an EXIF rotation is compared as it is displayed.
        """
        size = self.size(labels)
        if size is not None:
            self.compare_with(image, labels.name, *size)

    def compare_with(self, image: Path, labels: str, width: int, height: int) -> None:
        """Note when a photograph cannot be opened, has a hole, or is not as large as its labels."""
        size = self.size(image)
        if size is None:
            return
        if image not in self._whole and has_hole(image.read_bytes()):
            self.add(f"{image.name} is damaged: it has a hole of zero bytes in its picture")
        self._whole.add(image)
        if size != (width, height):
            found = f"{image.name} has {size[0]} x {size[1]}"
            self.add(f"{labels} has {width} x {height} pixels, {found}")

    def size(self, path: Path) -> tuple[int, int] | None:
        """Width and height as displayed, from the header; None, and a fault, if it has none."""
        try:
            with Image.open(path) as image:
                turned = image.getexif().get(0x0112, 1) in _TURNED
                return image.size[::-1] if turned else image.size
        except FileNotFoundError:
            self.add(f"{path.name} is missing")
        except (OSError, UnidentifiedImageError):
            self.add(f"{path.name} is not an image that can be read")
        return None

    def stop(self) -> None:
        """Raise when there were any.

        Raises:
            DatasetError: lists every fault.
        """
        if self._faults:
            count = len(self._faults)
            listed = "\n  ".join(self._faults)
            raise DatasetError(
                f"{self._root}: {count} fault{'s' * (count > 1)}; nothing was measured\n  {listed}"
            )
