"""DAVIS: `JPEGImages/480p/SEQ/*.jpg`, `Annotations/480p/SEQ/*.png`, `ImageSets/*/SPLIT.txt`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from clickcut_eval.datasets.entry import Annotated, Entry, FaultyPhotoError, read_bytes, split_names
from clickcut_eval.datasets.id_map import VOID, ids_in, instances_of, read_id_map
from clickcut_train.errors import DataError

_LISTS = ("2017", "480p", "2016")
"""Folders of `ImageSets`, the first that has a split is taken."""


def davis_entries(root: Path, splits: tuple[str, ...]) -> list[Entry]:
    """The annotated frames of the named splits, for example `train` or `2016/train`.

    Masks hold ids (DAVIS 2017) or are binary, 0 and 255 (DAVIS 2016); there are no void pixels.

    Raises:
        DataError: no such split, or a sequence without annotations.
    """
    frames = [frame for split in splits for frame in _frames(root, split)]

    def entry(frame: str) -> Entry:
        def read() -> Annotated:
            encoded = read_bytes(root / "JPEGImages/480p" / f"{frame}.jpg")
            ids = read_id_map(root / "Annotations/480p" / f"{frame}.png")
            if VOID in (found := ids_in(ids)) and set(found) - {0, VOID}:
                raise FaultyPhotoError("the mask has ids as well as 255")
            # A sequence numbers its objects; those that have left the picture leave gaps.
            return Annotated(encoded, instances_of(ids, void=None)[0])

        return Entry(frame, read)

    return [entry(frame) for frame in dict.fromkeys(frames)]


def _frames(root: Path, split: str) -> list[str]:
    """`SEQ/FRAME` of each annotated frame: lines name sequences (2017) or pairs of files (2016)."""
    listed = root / "ImageSets"
    candidates = (
        [listed / f"{split}.txt"]
        if "/" in split
        else [listed / folder / f"{split}.txt" for folder in _LISTS]
    )
    path = next((p for p in candidates if p.is_file()), candidates[0])
    frames: list[str] = []
    for line in split_names(path):
        image = PurePosixPath(line.split()[0])
        if image.suffix:
            frames.append(f"{image.parent.name}/{image.stem}")
            continue
        annotated = sorted((root / "Annotations/480p" / line).glob("*.png"))
        if not annotated:
            raise DataError(f"{root}: no Annotations/480p/{line}/*.png, named in {path.name}")
        frames += [f"{line}/{p.stem}" for p in annotated]
    return frames
