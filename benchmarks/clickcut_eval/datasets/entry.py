"""What a reader of a data set gives: photos that have not been read yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clickcut.images import ImageLimits
from clickcut_eval.datasets.rle import Rle
from clickcut_eval.errors import DatasetError

LIMITS = ImageLimits()


class FaultyPhotoError(DatasetError):
    """One photo cannot be used; it is skipped."""


@dataclass(frozen=True)
class Annotated:
    """A photo as its data set has it, not checked yet.

    Attributes:
        encoded: the image file as bytes.
        rles: one per instance, any number.
        void: pixels that belong to no instance for certain; they may overlap some.
        ids: what the instances are numbered with, where a map of ids was read.
        dropped: what is wrong with instances that are left out.
    """

    encoded: bytes
    rles: tuple[Rle, ...]
    void: Rle | None = None
    ids: tuple[int, ...] | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A photo of a data set that has not been read.

    Attributes:
        name: for messages.
        read: reads it; raises FaultyPhotoError.
    """

    name: str
    read: Callable[[], Annotated]


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
    """The lines of a list of names, without empty ones.

    Raises:
        DatasetError: no such file; the message lists what is beside it.
    """
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise DatasetError(f"{path}: no readable list of photos; there are: {there}") from error
