"""Semantic Boundaries Dataset: `dataset/img/*.jpg`, `dataset/inst/*.mat`, `dataset/SPLIT.txt`."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from clickcut_eval.datasets.entry import Annotated, Entry, FaultyPhotoError, read_bytes, split_names
from clickcut_eval.datasets.id_map import instances_of
from clickcut_train.errors import DataError

MAX_INFLATED = 64 * 2**20
"""Most bytes that a `.mat` file may unpack to; those of SBD have less than 1 MiB."""

_HEADER, _COMPRESSED = 128, 15


def sbd_entries(root: Path, splits: tuple[str, ...]) -> list[Entry]:
    """The photos of the named splits; an instance per id of `GTinst.Segmentation`, none void.

    Args:
        root: the folder `dataset`, or the one that holds it.
        splits: `train` or `val`. They are not those of VOC: its `val` is partly in their `train`.

    Raises:
        DataError: no such split, or another layout.
    """
    base = root / "dataset" if (root / "dataset").is_dir() else root
    if not (base / "inst").is_dir():
        raise DataError(f"{base}: no folder inst with the instance files of SBD")
    names = [name for split in splits for name in split_names(base / f"{split}.txt")]

    def entry(name: str) -> Entry:
        def read() -> Annotated:
            encoded = read_bytes(base / "img" / f"{name}.jpg")
            ids = _segmentation(read_bytes(base / "inst" / f"{name}.mat"), f"{name}.mat")
            rles, _, numbers = instances_of(ids, void=None)
            return Annotated(encoded, rles, None, numbers)

        return Entry(name, read)

    return [entry(name) for name in dict.fromkeys(names)]


def _segmentation(data: bytes, name: str) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """`GTinst.Segmentation` of a `.mat` file: (H, W) uint16."""
    _check_inflated(data, name)
    try:
        content = loadmat(io.BytesIO(data), struct_as_record=False, squeeze_me=True)
    except Exception as error:  # SciPy's reader raises all kinds for damaged data
        raise FaultyPhotoError(f"{name} is damaged or no MATLAB file: {error}") from error
    if "GTinst" not in content:
        what = "a class map (GTcls)" if "GTcls" in content else "no GTinst"
        raise FaultyPhotoError(f"{name} holds {what}; instances are in dataset/inst")
    ids = np.asarray(getattr(content["GTinst"], "Segmentation", None))
    whole = ids.ndim == 2 and ids.size > 0 and ids.dtype.kind in "ui"
    if not whole or ids.min() < 0 or ids.max() > np.iinfo(np.uint16).max:
        raise FaultyPhotoError(f"{name}: GTinst.Segmentation is no map of instance ids")
    return np.asfortranarray(ids, np.uint16)


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
