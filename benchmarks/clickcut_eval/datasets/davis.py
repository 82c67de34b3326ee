"""DAVIS: `JPEGImages/480p/SEQ/*.jpg`, `Annotations/480p/SEQ/*.png`, `ImageSets/*/SPLIT.txt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from clickcut_eval.datasets.entry import Annotated, Entry, FaultyPhotoError, split_names
from clickcut_eval.datasets.labels import VOID, ids_in, instances_of, read_id_map
from clickcut_eval.datasets.listing import first_folder
from clickcut_eval.errors import DatasetError

_LISTS = ("2017", "480p", "2016")
"""Folders of `ImageSets`, the first that has a split is taken."""


@dataclass(frozen=True)
class Frame:
    """An annotated frame of a video.

    Attributes:
        sequence: the folder that it lies in.
        name: `SEQUENCE/NUMBER`.
        image: the photograph.
        mask: its annotation.
    """

    sequence: str
    name: str
    image: Path
    mask: Path


def davis_frames(root: Path, splits: Sequence[str] = ()) -> list[Frame]:
    """The annotated frames of the named splits, of all sequences when none is named.

    Args:
        root: with `JPEGImages/480p` or `JPEGImages/Full-Resolution`, the first that is there.
        splits: for example `train` or `2016/train`.

    Raises:
        DatasetError: no such folders or split, or a sequence without annotations.
    """
    images = first_folder(root, "JPEGImages/480p", "JPEGImages/Full-Resolution")
    masks = first_folder(root, f"Annotations/{images.name}")
    if splits:
        names = [name for split in splits for name in _listed(root, masks, split)]
    else:
        sequences = sorted(p.name for p in images.iterdir() if p.is_dir())
        names = [name for sequence in sequences for name in _annotated(masks, sequence)]
    return [
        Frame(name.partition("/")[0], name, images / f"{name}.jpg", masks / f"{name}.png")
        for name in dict.fromkeys(names)
    ]


def davis_entries(root: Path, splits: Sequence[str]) -> list[Entry]:
    """The annotated frames of the named splits; an instance per id.

    Masks hold ids (DAVIS 2017) or are binary, 0 and 255 (DAVIS 2016); there are no void pixels.

    Raises:
        DatasetError: see `davis_frames`.
    """
    return [Entry(f.name, f.image, partial(_read, f.mask)) for f in davis_frames(root, splits)]


def _read(mask: Path) -> Annotated:
    ids = read_id_map(mask)
    if VOID in (found := ids_in(ids)) and set(found) - {0, VOID}:
        raise FaultyPhotoError("the mask has ids as well as 255")
    # A sequence numbers its objects; those that have left the picture leave gaps.
    return Annotated((ids.shape[0], ids.shape[1]), instances_of(ids, void=None)[0])


def _listed(root: Path, masks: Path, split: str) -> list[str]:
    """`SEQUENCE/NUMBER` of a split's frames; lines name sequences (2017) or files (2016)."""
    listed = root / "ImageSets"
    candidates = (
        [listed / f"{split}.txt"]
        if "/" in split
        else [listed / folder / f"{split}.txt" for folder in _LISTS]
    )
    names: list[str] = []
    for line in split_names(next((p for p in candidates if p.is_file()), candidates[0])):
        image = PurePosixPath(line)
        if image.suffix:
            names.append(f"{image.parent.name}/{image.stem}")
        else:
            names += _annotated(masks, line)
    return names


def _annotated(masks: Path, sequence: str) -> list[str]:
    annotated = sorted((masks / sequence).glob("*.png"))
    if not annotated:
        raise DatasetError(f"{masks / sequence}: no annotations *.png of this sequence")
    return [f"{sequence}/{p.stem}" for p in annotated]
