"""Reading label images, and collecting every fault of a data set folder before complaining."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clickcut.errors import ImageError
from clickcut.images import ImageLimits
from clickcut_eval.errors import DatasetError

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LABELS = (".png", ".bmp", ".gif")


class Faults:
    """Everything that is wrong with a data set.

    Args:
        root: the folder, for the message.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._faults: list[str] = []

    def add(self, fault: str) -> None:
        """Note a fault."""
        self._faults.append(fault)

    def compare_sizes(self, image: Path, labels: Path) -> None:
        """Note when a photograph and its label image cannot be opened or differ in size.

        Only headers are read. A photograph with an EXIF rotation is compared as it is displayed.
        """
        size = self._size(labels)
        if size is not None:
            self.compare_with(image, labels, *size)

    def compare_with(self, image: Path, labels: Path, width: int, height: int) -> None:
        """Note when a photograph cannot be opened or has not the size of its labels."""
        size = self._size(image)
        if size is not None and size != (width, height):
            found = f"{image.name} has {size[0]} x {size[1]}"
            self.add(f"{labels.name} has {width} x {height} pixels, {found}")

    def _size(self, path: Path) -> tuple[int, int] | None:
        try:
            with Image.open(path) as image:
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
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


def folder(root: Path, *names: str) -> Path:
    """The first of some folders that exists under `root`.

    Raises:
        DatasetError: none does.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(f"{root}: there is no folder {' or '.join(names)} in it")


def listing(path: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files of a folder by their stem, sorted by name; hidden files are left out."""
    wanted = {s.lower() for s in suffixes}
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in wanted)
    return {p.stem: p for p in files if not p.name.startswith(".")}


def names_of(path: Path) -> list[str]:
    """The names in a list file, one a line; what follows a blank is left out.

    Raises:
        DatasetError: no such file, or nothing in it.
    """
    try:
        names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file; it lists the photographs to use") from error
    if not names:
        raise DatasetError(f"{path}: lists no photographs")
    return names


def read_labels(path: Path) -> NDArray[np.uint8]:
    """A label image: ids of a palette image, else grey values, the largest channel of colours.

    Returns:
        (H, W) uint8.

    Raises:
        DatasetError: missing, damaged, too large, or with more than 8 bits.
    """
    try:
        with Image.open(path) as image:
            if image.size[0] * image.size[1] > ImageLimits().max_pixels:
                raise ImageError("it has too many pixels")
            if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA"):
                raise ImageError(f"its pixels are of the kind {image.mode}; 8 bits are wanted")
            labels = np.array(image.convert("L") if image.mode == "1" else image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, ImageError) as error:
        raise DatasetError(f"{path}: not a label image that can be read ({error})") from error
    if labels.ndim == 3:
        labels = labels[..., : 1 if labels.shape[2] == 2 else 3].max(axis=2)
    return np.asarray(labels, np.uint8)
