"""Writes tar shards of at most a given size, with constant headers: the same bytes each time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from clickcut_train.data.manifest import PackOptions, Shard

_BLOCK, _TAR_END = 512, 10_240


def write_shards(
    folder: Path,
    photos: Iterator[tuple[int, int, dict[str, bytes]]],
    options: PackOptions,
    tell: Callable[[int], None],
) -> list[Shard]:
    """Write photos (source, objects, members) to shards; `tell` is called with the bytes so far."""
    limit = int(options.shard_mib * 2**20)
    shards: list[Shard] = []
    writer: _ShardWriter | None = None
    count = written = 0
    try:
        for source, objects, members in photos:
            needed = sum(_tar_size(data) for data in members.values())
            if writer is not None and writer.size + needed + _TAR_END > limit:
                shards.append(writer.close())
                writer = None
            if writer is None:
                writer = _ShardWriter(folder / f"shard-{len(shards):06d}.tar")
            writer.add(f"{count:08d}", members, objects, source)
            count, written = count + 1, written + needed
            tell(written)
        if writer is not None:
            shards.append(writer.close())
            writer = None
    finally:
        if writer is not None:
            writer.abandon()
    return shards


def _tar_size(data: bytes) -> int:
    return _BLOCK + -(-len(data) // _BLOCK) * _BLOCK


class _ShardWriter:
    """One tar file in the making."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        self._objects: list[int] = []
        self._sources: list[int] = []
        self.size = 0

    def add(self, key: str, members: dict[str, bytes], objects: int, source: int) -> None:
        for extension, data in members.items():
            info = tarfile.TarInfo(f"{key}.{extension}")
            info.size = len(data)  # owner, time and mode stay constant: the same bytes each time
            self._tar.addfile(info, io.BytesIO(data))
            self.size += _tar_size(data)
        self._objects.append(objects)
        self._sources.append(source)

    def close(self) -> Shard:
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Shard(
            name=self._path.name,
            bytes=self._path.stat().st_size,
            sha256=digest,
            objects_of_photo=tuple(self._objects),
            source_of_photo=tuple(self._sources),
        )

    def abandon(self) -> None:
        with contextlib.suppress(OSError):  # the disk may be full
            self._file.close()
