"""Data sets: a folder -> the objects to select on its photographs.

Every adapter checks its whole folder first and names every fault, then lists small `Target`s; masks
are read when an object's turn comes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets.objects import coco, folder, sbd, voc
from clickcut_eval.datasets.pairs import berkeley, clothing, coco_pairs, davis, grabcut
from clickcut_eval.errors import DatasetError
from clickcut_eval.targets import Target


@dataclass(frozen=True)
class Dataset:
    """A kind of data set.

    Attributes:
        title: as tables show it; the splits are added if some are named.
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
    "folder": Dataset("Folder", folder, 0.85),
}
"""By kind, see `clickcut_eval.data_spec`."""


def open_dataset(spec: DataSpec) -> tuple[Dataset, list[Target]]:
    """A data set and its objects.

    Raises:
        DatasetError: unknown kind, no such folder, or the folder's faults.
    """
    if spec.kind not in DATASETS:
        raise DatasetError(f"unknown data set {spec.kind!r}; there are {', '.join(DATASETS)}")
    if not spec.folder.is_dir():
        raise DatasetError(f"{spec}: there is no folder {spec.folder}")
    dataset = DATASETS[spec.kind]
    if spec.splits:
        title = dataset.title.removesuffix(" val")
        dataset = dataclasses.replace(dataset, title=f"{title} {', '.join(spec.splits)}")
    return dataset, dataset.read(spec.folder, spec.splits)
