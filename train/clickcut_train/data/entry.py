"""What a reader of a data set gives: photos not read yet, and a report of what was left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clickcut.images import ImageLimits
from clickcut_train.data.photo import Rle
from clickcut_train.errors import DataError

LIMITS = ImageLimits()

_LISTED = 20


class FaultyPhotoError(DataError):
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


@dataclass
class Report:
    """What was read of a source.

    Attributes:
        source: its name.
        total: photos that it lists.
        photos: photos that can be trained on.
        objects: objects on them.
        small: objects left out because they have too few pixels.
        without_object: photos left out because no object remains on them.
        faulty: photo and reason, of photos left out.
        dropped: photo and reason, of objects left out on photos that are used.
        numbered: photos whose instances have ids.
        unnumbered: those among them whose ids are not numbered from 1.
    """

    source: str
    total: int
    photos: int = 0
    objects: int = 0
    small: int = 0
    without_object: int = 0
    faulty: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    numbered: int = 0
    unnumbered: int = 0

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.photos} photos with {self.objects} objects; left out: "
            f"{len(self.faulty)} faulty photos, {self.without_object} without an object, "
            f"{len(self.dropped)} faulty objects, {self.small} small objects"
        ]
        both = self.faulty + self.dropped
        lines += [f"  {name}: {reason}" for name, reason in both[:_LISTED]]
        if len(both) > _LISTED:
            lines.append(f"  ... and {len(both) - _LISTED} more")
        return "\n".join(lines)


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
        DataError: no such file; the message lists what is beside it.
    """
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise DataError(f"{path}: no readable list of photos; there are: {there}") from error
