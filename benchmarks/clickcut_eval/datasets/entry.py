"""What a reader of a data set gives: photos that have not been read yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from clickcut.images import ImageLimits
from clickcut_eval.datasets.rle import Rle
from clickcut_eval.errors import DatasetError

LIMITS = ImageLimits()


class FaultyPhotoError(DatasetError):
    """One photo cannot be used. Training skips it, an evaluation refuses the whole data set."""


@dataclass(frozen=True)
class Annotated:
    """The objects on a photo as its data set has them.

    Attributes:
        size: height and width of the masks, pixels; the photo is not opened by the reader.
        rles: one per instance, any number.
        void: pixels that belong to no instance for certain; they may overlap some.
        ids: what the instances are numbered with, where a map of ids was read.
        categories: class name of each instance, "" where it has none; empty: none has.
        dropped: what is wrong with instances that are left out.
    """

    size: tuple[int, int]
    rles: tuple[Rle, ...]
    void: Rle | None = None
    ids: tuple[int, ...] | None = None
    categories: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def like_classes(self) -> bool:
        """Whether the ids are far from 1, 2, 3, ..., as those of a map of classes are."""
        return bool(self.ids) and max(self.ids or ()) > 2 * len(self.ids or ())


@dataclass(frozen=True)
class Entry:
    """A photo of a data set that has not been read.

    Attributes:
        name: unique in its data set.
        image: the file; None where the data set names none that can be used: `read` raises then.
        read: reads its objects, picklable; raises FaultyPhotoError.
    """

    name: str
    image: Path | None
    read: Callable[[], Annotated]

    def encoded(self) -> bytes:
        """The bytes of the image file.

        Raises:
            FaultyPhotoError: it is missing, unreadable or larger than any image that is accepted.
        """
        if self.image is None:
            raise FaultyPhotoError("its data set names no image file")
        return read_bytes(self.image)


def stray(name: str, reason: str) -> Entry:
    """An entry for objects without a photo: a fault that is counted and listed with the others."""
    return Entry(name, None, partial(_raise, reason))


def _raise(reason: str) -> NoReturn:
    raise FaultyPhotoError(reason)


def read_bytes(path: Path) -> bytes:
    """An image or mask file.

    Raises:
        FaultyPhotoError: it is missing, unreadable or larger than any image that is accepted.
    """
    try:
        size = path.stat().st_size
        if size > LIMITS.max_bytes:
            raise FaultyPhotoError(
                f"{path} has {size:,} bytes; at most {LIMITS.max_bytes:,} are read"
            )
        return path.read_bytes()
    except OSError as error:
        raise FaultyPhotoError(f"{path} cannot be read ({error.strerror})") from error


def split_names(path: Path) -> list[str]:
    """The first word of each line of a list of photos, without repetitions.

    Raises:
        DatasetError: no such file, or nothing in it; the message lists what is beside it.
    """
    try:
        names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise DatasetError(f"{path}: no readable list of photos; there are: {there}") from error
    if not names:
        raise DatasetError(f"{path}: lists no photos")
    return list(dict.fromkeys(names))
