"""Packs data sets into tar shards with a manifest: everything or nothing.

A folder that is packed appears under its name when it is complete. Until then it has the name
`NAME.partial`, which a later run replaces; the same input and options give the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from clickcut_eval.datasets.entry import Entry
from clickcut_train.data.checking import Strictness, ordered_map, read_entries
from clickcut_train.data.config import DataConfig, SourceConfig
from clickcut_train.data.manifest import FILE_NAME, Manifest, PackedSource, PackOptions
from clickcut_train.data.members import to_members
from clickcut_train.data.open import list_entries
from clickcut_train.data.photo import Photo
from clickcut_train.data.report import Report
from clickcut_train.data.rescale import scaled
from clickcut_train.data.shard_writer import write_shards
from clickcut_train.errors import DataError

Progress = Callable[[int, int, int], None]
"""Called with the photos dealt with so far, the photos there are, and the bytes written so far."""


def pack(
    config: DataConfig,
    out: Path,
    options: PackOptions,
    progress: Progress = lambda done, total, size: None,
    workers: int = 2,
) -> tuple[Manifest, list[Report]]:
    """Pack the data sets of a configuration.

    Args:
        config: the data sets; `min_area` is taken from `options`.
        out: folder to make.
        options: how photos are packed.
        progress: called with how far it is.
        workers: threads.

    Returns:
        The manifest, and what was left out of each data set.

    Raises:
        DataError: `out` exists, another run is writing it, the disk is full, see `read_entries`.
    """
    if out.exists():
        raise DataError(f"{out} exists; give another folder, or remove it first")
    jobs, reports = _jobs(config, options.seed)
    numbers = {id(report): k for k, report in enumerate(reports)}
    found = read_entries(
        jobs,
        Strictness(options.min_area, config.max_faulty, config.any_ids),
        lambda photo, pixels: scaled(photo, pixels, options),
        workers,
    )

    def tell(size: int) -> None:
        done = sum(r.photos + len(r.faulty) + r.without_object for r in reports)
        progress(done, len(jobs), size)

    def encode(job: tuple[Report, Photo]) -> tuple[int, int, dict[str, bytes]]:
        report, photo = job
        number = numbers[id(report)]
        return number, len(photo.rles), to_members(photo, number)

    with _partial_folder(out) as folder:
        shards = write_shards(folder, ordered_map(encode, found, workers), options, tell)
        if not shards:
            listed = "\n".join(map(str, reports))
            raise DataError(f"no photo with an object to pack:\n{listed}")
        manifest = Manifest(
            photos=sum(len(s.objects_of_photo) for s in shards),
            objects=sum(sum(s.objects_of_photo) for s in shards),
            bytes=sum(s.bytes for s in shards),
            options=options,
            sources=tuple(map(_packed_source, config.sources, reports)),
            shards=tuple(shards),
        )
        with (folder / FILE_NAME).open("w") as file:
            file.write(manifest.text())
            os.fsync(file.fileno())
    return manifest, reports


def _jobs(config: DataConfig, seed: int) -> tuple[list[tuple[Entry, Report]], list[Report]]:
    """All photos in a random order, so that each shard is a sample of all of them."""
    listed = [list_entries(source) for source in config.sources]
    reports = [
        Report(str(source), len(entries))
        for source, entries in zip(config.sources, listed, strict=True)
    ]
    jobs = [
        (entry, report)
        for entries, report in zip(listed, reports, strict=True)
        for entry in entries
    ]
    if not jobs:
        raise DataError("nothing to pack: give at least one data set")
    return [jobs[i] for i in np.random.default_rng(seed).permutation(len(jobs))], reports


def _packed_source(source: SourceConfig, report: Report) -> PackedSource:
    return PackedSource(
        kind=source.kind,
        name=Path(source.path).resolve().name,
        splits=source.splits,
        weight=source.weight,
        photos=report.photos,
        objects=report.objects,
        faulty=len(report.faulty),
        without_object=report.without_object,
        faulty_objects=len(report.dropped),
        small_objects=report.small,
    )


@contextlib.contextmanager
def _partial_folder(out: Path) -> Iterator[Path]:
    """A folder that gets the name `out` when the block ends well, and else goes away."""
    folder = out.with_name(out.name + ".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another run is packing into {out}; wait, or end it") from error
        try:
            for old in folder.iterdir():  # of a run that was killed
                old.unlink()
            yield folder
            os.fsync(lock)
            folder.rename(out)
            _sync_folder(out.parent)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise DataError(_write_advice(out, error)) from error
            raise
    finally:
        os.close(lock)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_advice(out: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {out} is full; nothing was left on it. Free space and pack again"
    return f"{out} cannot be written: {error.strerror or error}"
