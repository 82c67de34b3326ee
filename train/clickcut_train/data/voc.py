"""PASCAL VOC: `JPEGImages`, `SegmentationObject`, `ImageSets/Segmentation/SPLIT.txt`."""

from __future__ import annotations

from pathlib import Path

from clickcut_eval.datasets.entry import Annotated, Entry, read_bytes, split_names
from clickcut_eval.datasets.id_map import instances_of, read_id_map
from clickcut_train.errors import DataError


def voc_entries(root: Path, splits: tuple[str, ...]) -> list[Entry]:
    """The photos of the named splits; an instance per id of `SegmentationObject`, 255 = void.

    Raises:
        DataError: no such split, or the tree has no `SegmentationObject`.
    """
    if not (root / "SegmentationObject").is_dir():
        hint = "it has class maps only" if (root / "SegmentationClass").is_dir() else "no VOC tree"
        raise DataError(f"{root}: no folder SegmentationObject ({hint})")
    names = [
        name
        for split in splits
        for name in split_names(root / f"ImageSets/Segmentation/{split}.txt")
    ]

    def entry(name: str) -> Entry:
        def read() -> Annotated:
            encoded = read_bytes(root / "JPEGImages" / f"{name}.jpg")
            rles, void, ids = instances_of(read_id_map(root / "SegmentationObject" / f"{name}.png"))
            return Annotated(encoded, rles, void, ids)

        return Entry(name, read)

    return [entry(name) for name in dict.fromkeys(names)]
