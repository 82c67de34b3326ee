"""What lies in the folders of a data set, and which mask belongs to which photo."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from pathlib import Path

from clickcut_eval.errors import DatasetError

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def first_folder(root: Path, *names: str) -> Path:
    """The first of some folders that exists under `root`.

    Raises:
        DatasetError: none does.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(f"{root}: there is no folder {' or '.join(names)} in it")


def visible(path: Path, suffixes: Container[str]) -> list[Path]:
    """Files of a folder with one of these endings, in lower case, sorted; hidden ones are not."""
    files = (p for p in path.iterdir() if p.suffix.lower() in suffixes)
    return sorted(p for p in files if not p.name.startswith("."))


def masks_of(
    photos: Container[str], masks: Iterable[Path], heads: Callable[[str], Iterable[str]]
) -> tuple[dict[str, list[Path]], list[Path]]:
    """Which masks belong to which photos.

    Args:
        photos: names of the photos, without ending.
        masks: in the order in which those of one photo are wanted.
        heads: name of a mask -> names of photos that it may belong to, the likeliest first.

    Returns:
        Masks by the name of their photo, and those that belong to none.
    """
    found: dict[str, list[Path]] = {}
    strays = []
    for mask in masks:
        owner = next((head for head in heads(mask.stem) if head in photos), None)
        if owner is None:
            strays.append(mask)
        else:
            found.setdefault(owner, []).append(mask)
    return found, strays
