"""From a configuration to photographs: every kind of source opened, read and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from clickcut_eval.datasets.coco import coco_entries
from clickcut_eval.datasets.davis import davis_entries
from clickcut_eval.datasets.entry import Entry
from clickcut_eval.datasets.folder import folder_entries
from clickcut_eval.datasets.sbd import sbd_entries
from clickcut_eval.datasets.voc import voc_entries
from clickcut_train.data.checking import Strictness, read_entries
from clickcut_train.data.config import DataConfig, SourceConfig
from clickcut_train.data.photo import Photo
from clickcut_train.data.report import Report
from clickcut_train.data.shards import open_shards
from clickcut_train.data.source import (
    MemorySource,
    MixedSource,
    PhotoSource,
    set_share_of_several,
)
from clickcut_train.errors import DataError


def list_entries(source: SourceConfig) -> list[Entry]:
    """The photos that a data set on disk lists, unread.

    Raises:
        DataError: missing, of another layout, or empty.
    """
    root = Path(source.path).expanduser()
    if not root.is_dir():
        raise DataError(f"{source}: no such folder")
    match source.kind:
        case "voc":
            entries = voc_entries(root, source.splits)
        case "sbd":
            entries = sbd_entries(root, source.splits)
        case "davis":
            entries = davis_entries(root, source.splits)
        case "coco":
            entries = coco_entries(root, source.splits)
        case "folder":
            entries = folder_entries(root)
        case "shards":
            raise DataError(f"{source}: packed already")
    if source.hold_out:
        entries = [e for e in entries if is_held_out(e.name, source.hold_out) == source.held_out]
    if not entries:
        raise DataError(f"{source}: it lists no photos")
    return entries


def is_held_out(name: str, share: float) -> bool:
    """Whether a photo is in the held-out share: by the first 32 bits of its name's SHA-256.

    The same photos on every machine and whatever else the set holds, so that a photo is never
    trained on in one run and measured in another.
    """
    return int.from_bytes(hashlib.sha256(Path(name).stem.encode()).digest()[:4]) < share * 2**32


def strictness(config: DataConfig) -> Strictness:
    """What a configuration leaves out and does not put up with."""
    return Strictness(config.min_area, config.max_faulty, config.any_ids)


def read_photos(
    source: SourceConfig, config: DataConfig, max_photos: int | None = None, seed: int = 0
) -> tuple[list[Photo], Report]:
    """All photos of a data set on disk that can be trained on, and what was left out.

    Args:
        source: the data set.
        config: what is left out.
        max_photos: read a random sample of at most this many photos.
        seed: of the sample.

    Raises:
        DataError: see `list_entries` and `read_entries`.
    """
    entries = list_entries(source)
    if max_photos is not None and max_photos < len(entries):
        chosen = np.random.default_rng(seed).choice(len(entries), max_photos, replace=False)
        entries = [entries[i] for i in np.sort(chosen)]
    report = Report(str(source), len(entries))
    found = read_entries([(entry, report) for entry in entries], strictness(config))
    photos = [photo for _, photo in found]
    if not photos:
        raise DataError(f"no photo with an object to train on:\n{report}")
    return photos, report


def open_sources(
    config: DataConfig, max_photos: int | None = None, seed: int = 0
) -> tuple[PhotoSource, tuple[Report, ...]]:
    """Everything that a configuration names as one source.

    Data sets on disk are read into memory; shards are read as they are drawn.

    Args:
        config: the data sets.
        max_photos: read a random sample of at most this many photos of each data set on disk.
        seed: of the sample.

    Raises:
        DataError: a source is missing, of another layout, or has too many faults.
    """
    if not config.sources:
        raise DataError("no training data is named: give at least one source")
    sources: list[PhotoSource] = []
    reports: list[Report] = []
    for each in config.sources:
        if each.kind == "shards":
            shards = open_shards(
                each.path, each.weight, each.window, config.cache, config.cache_gib
            )
            sources.append(shards)
            count, objects = len(shards), int(shards.objects.sum())
            reports.append(Report(str(each), count, count, objects))
            continue
        photos, report = read_photos(each, config, max_photos, seed)
        sources.append(MemorySource(photos, [each.weight] * len(photos)))
        reports.append(report)
    source: PhotoSource = sources[0] if len(sources) == 1 else MixedSource(sources)
    if config.several:
        set_share_of_several(source, config.several)
    return source, tuple(reports)
