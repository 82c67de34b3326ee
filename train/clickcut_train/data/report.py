"""What was read of a data set and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field

_LISTED = 20


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
