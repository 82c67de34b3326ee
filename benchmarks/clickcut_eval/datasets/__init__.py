"""Data sets: a folder -> the objects to select on its photographs.

Every adapter checks its whole folder first and names every fault, then lists small `Target`s; masks
are read when an object's turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clickcut_eval.datasets.objects import coco, sbd, voc
from clickcut_eval.datasets.pairs import berkeley, clothing, coco_pairs, davis, grabcut
from clickcut_eval.errors import DatasetError
from clickcut_eval.targets import Target


@dataclass(frozen=True)
class Dataset:
    """A kind of data set.

    Attributes:
        title: as tables show it.
        read: folder and splits -> its objects; raises `DatasetError`.
        target: IoU that the field measures clicks to on it.
    """

    title: str
    read: Callable[..., list[Target]]
    target: float


DATASETS = {
    "grabcut": Dataset("GrabCut", grabcut, 0.90),
    "berkeley": Dataset("Berkeley", berkeley, 0.90),
    "voc": Dataset("Pascal VOC val", voc, 0.85),
    "coco_mval_dev": Dataset("COCO dev", coco_pairs, 0.85),
    "coco": Dataset("COCO", coco, 0.85),
    "sbd": Dataset("SBD val", sbd, 0.85),
    "davis": Dataset("DAVIS", davis, 0.90),
    "clothing_parts": Dataset("Clothing parts", clothing, 0.85),
}
"""Kinds by name, which is also the folder's name where no other is given."""


def open_dataset(name: str, folder: Path) -> tuple[Dataset, list[Target]]:
    """A data set and its objects.

    Args:
        name: a key of `DATASETS`.
        folder: where it lies.

    Raises:
        DatasetError: unknown name, no such folder, or the folder's faults.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; there are {', '.join(DATASETS)}")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; data set {name} is looked for there")
    return DATASETS[name], DATASETS[name].read(folder)
