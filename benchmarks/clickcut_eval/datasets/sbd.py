"""Semantic Boundaries Dataset: `dataset/img/*.jpg`, `dataset/inst/*.mat`, `dataset/SPLIT.txt`."""

from __future__ import annotations

import io
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut_eval.datasets.entry import (
    Annotated,
    Entry,
    FaultyPhotoError,
    read_bytes,
    split_names,
)
from clickcut_eval.datasets.labels import instances_of
from clickcut_eval.datasets.voc import class_name
from clickcut_eval.errors import DatasetError

MAX_INFLATED = 64 * 2**20
"""Most bytes that a `.mat` file may unpack to; those of SBD have less than 1 MiB."""

_HEADER, _COMPRESSED = 128, 15


def sbd_entries(root: Path, splits: tuple[str, ...]) -> list[Entry]:
    """The photos of the named splits; an instance per id of `GTinst.Segmentation`, none void.

    Args:
        root: the folder `dataset`, or the one that holds it.
        splits: `train` or `val`. They are not those of VOC: its `val` is partly in their `train`.

    Raises:
        DatasetError: no such split, or another layout.
    """
    base = root / "dataset" if (root / "dataset").is_dir() else root
    if not (base / "inst").is_dir():
        raise DatasetError(f"{base}: no folder inst with the instance files of SBD")
    if not (base / "img").is_dir():
        raise DatasetError(f"{base}: no folder img with the photos of SBD")
    lists = [split_names(base / f"{split}.txt") for split in splits]
    return [
        Entry(name, base / "img" / f"{name}.jpg", partial(_read, base, name))
        for name in dict.fromkeys(name for names in lists for name in names)
    ]


def _read(base: Path, name: str) -> Annotated:
    file = base / "inst" / f"{name}.mat"
    inst = _structure(read_bytes(file), file.name)
    ids = _segmentation(inst, file.name)
    rles, _, numbers = instances_of(ids, void=None)
    return Annotated((ids.shape[0], ids.shape[1]), rles, None, numbers, _categories(inst, numbers))


def _structure(data: bytes, name: str) -> Any:
    """`GTinst` of a `.mat` file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DatasetError("SBD's .mat files need scipy: pip install 'clickcut[eval]'") from error
    _check_inflated(data, name)
    try:
        content = loadmat(io.BytesIO(data), struct_as_record=False, squeeze_me=True)
    except Exception as error:  # SciPy's reader raises all kinds for damaged data
        raise FaultyPhotoError(f"{name} is damaged or not a MATLAB file: {error}") from error
    if "GTinst" not in content:
        what = "a class map (GTcls)" if "GTcls" in content else "no GTinst"
        raise FaultyPhotoError(f"{name} holds {what}; instances are in dataset/inst")
    return content["GTinst"]


def _segmentation(inst: Any, name: str) -> NDArray[np.uint16]:
    """`GTinst.Segmentation`: (H, W) uint16, column order."""
    ids = np.asarray(getattr(inst, "Segmentation", None))
    whole = ids.ndim == 2 and ids.size > 0 and ids.dtype.kind in "ui"
    if not whole or ids.min() < 0 or ids.max() > np.iinfo(np.uint16).max:
        raise FaultyPhotoError(f"{name}: GTinst.Segmentation is not a map of instance ids")
    return np.asfortranarray(ids, np.uint16)


def _categories(inst: Any, numbers: tuple[int, ...]) -> tuple[str, ...]:
    """Classes of the instances: `GTinst.Categories` has that of id 1 first."""
    kinds = np.atleast_1d(np.asarray(getattr(inst, "Categories", [])))
    if kinds.ndim != 1 or kinds.dtype.kind not in "ui":
        return ()
    return tuple(class_name(int(kinds[n - 1]) if n <= len(kinds) else 0) for n in numbers)


def _check_inflated(data: bytes, name: str) -> None:
    """Refuse a file whose compressed parts unpack to more than `MAX_INFLATED` bytes."""
    at, left = _HEADER, MAX_INFLATED
    while at + 8 <= len(data) and left >= 0:
        kind, size = (int(v) for v in np.frombuffer(data, "<u4", 2, at))
        if kind == _COMPRESSED:
            try:
                left -= len(zlib.decompressobj().decompress(data[at + 8 : at + 8 + size], left + 1))
            except zlib.error as error:
                raise FaultyPhotoError(f"{name} is damaged: {error}") from error
        at += 8 + size
    if left < 0:
        raise FaultyPhotoError(f"{name} unpacks to more than {MAX_INFLATED:,} bytes")
