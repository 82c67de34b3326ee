"""Packed photographs: any of them by its number, from a folder or over HTTP."""

from __future__ import annotations

import os
import tarfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import numpy as np

from clickcut_train.data.fetch import Cache, Transfer, has_hash
from clickcut_train.data.manifest import FILE_NAME, MAX_BYTES, Manifest, Shard, parse_manifest
from clickcut_train.data.members import from_members
from clickcut_train.data.photo import Photo
from clickcut_train.errors import DataError

_OPEN = 64
"""Shards whose files are kept open."""


class Store(Protocol):
    """Where shards lie."""

    where: str

    def path(self, shard: Shard) -> Path:
        """The file of a shard, with the right content.

        Raises:
            DataError: it is missing, damaged or cannot be fetched.
        """


class FolderStore:
    """Shards in a folder; each is compared with its hash when it is first opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder)
        self._checked: set[str] = set()

    def path(self, shard: Shard) -> Path:
        """See `Store.path`."""
        path = self._folder / shard.name
        try:
            if shard.name not in self._checked and not has_hash(path, shard.bytes, shard.sha256):
                raise DataError(f"{path} is not the file that the manifest names: copy it again")
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}): copy it again") from error
        self._checked.add(shard.name)
        return path


class WebStore:
    """Shards beside a manifest on a web server, kept in a cache."""

    def __init__(self, url: str, transfer: Transfer, cache: Cache) -> None:
        self.where = url
        self._base = url.rsplit("/", 1)[0]
        self._transfer, self._cache = transfer, cache

    def path(self, shard: Shard) -> Path:
        """See `Store.path`."""
        url = f"{self._base}/{shard.name}"
        return self._cache.get(self._transfer, url, shard.bytes, shard.sha256)


Place = tuple[int, int]
"""Offset and size of a member, bytes."""


class _OpenShard:
    """An open tar file; it is closed when the last reader is done."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read(self, place: Place) -> bytes:
        offset, size = place
        return os.pread(self._descriptor, size, offset)


class ShardSource:
    """Packed photos; safe to use from several threads. See `PhotoSource`.

    Args:
        manifest: says what there is.
        store: gives the files.
        weight: times that a photo is drawn in an epoch, beside the weight that it was packed with.
        window: shards that are mixed at a time; 0: all.
    """

    def __init__(
        self, manifest: Manifest, store: Store, weight: float = 1.0, window: int = 0
    ) -> None:
        self._shards, self._store = manifest.shards, store
        counts = [len(s.objects_of_photo) for s in manifest.shards]
        self._starts = np.cumsum([0, *counts])
        source_weights = np.array([s.weight for s in manifest.sources])
        self.weights = (
            weight * source_weights[np.concatenate([s.source_of_photo for s in manifest.shards])]
        )
        self.objects = np.concatenate([s.objects_of_photo for s in manifest.shards]).astype(
            np.int64
        )
        self.groups = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        self.window = window if window < len(counts) else 0
        self._lock = threading.Lock()
        self._shard_locks = [threading.Lock() for _ in counts]
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._places: dict[int, list[tuple[str, dict[str, Place]]]] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def photo(self, index: int) -> Photo:
        """See `PhotoSource.photo`."""
        which = int(np.searchsorted(self._starts, index, "right")) - 1
        shard, places = self._opened(which)
        key, members = places[index - int(self._starts[which])]
        name = f"{self._store.where}: {self._shards[which].name}: {key}"
        return from_members({ext: shard.read(place) for ext, place in members.items()}, name)

    def _opened(self, which: int) -> tuple[_OpenShard, list[tuple[str, dict[str, Place]]]]:
        """A shard, and where its photos are."""
        with self._shard_locks[which]:
            with self._lock:
                shard = self._open.get(which)
                if shard is not None:
                    self._open.move_to_end(which)
            if shard is None:
                path = self._store.path(self._shards[which])
                shard = _OpenShard(path)
                if which not in self._places:
                    self._places[which] = _scan(path, self._shards[which])
            with self._lock:
                self._open[which] = shard
                while len(self._open) > _OPEN:
                    self._open.popitem(last=False)
        return shard, self._places[which]


def _scan(path: Path, shard: Shard) -> list[tuple[str, dict[str, Place]]]:
    """Key, and members by extension, of every photo of a tar file in its order."""
    found: dict[str, dict[str, Place]] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                found.setdefault(key, {})[extension] = member.offset_data, member.size
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{shard.name}: no readable tar file ({error}); pack again") from error
    if len(found) != len(shard.objects_of_photo):
        raise DataError(
            f"{shard.name}: {len(found)} photos, but {len(shard.objects_of_photo)} in the "
            "manifest; pack again"
        )
    return list(found.items())


def open_shards(
    location: str, weight: float = 1.0, window: int = 0, cache: str = "", cache_gib: float = 20.0
) -> ShardSource:
    """Open packed data.

    Args:
        location: a folder, its `manifest.json`, or the `http(s)` URL of either.
        weight: see `ShardSource`.
        window: see `ShardSource`.
        cache: folder for shards from a URL; the user's cache when empty.
        cache_gib: maximum that it holds.

    Raises:
        DataError: no manifest there, or not one; the cache is too small for the window.
    """
    if not location.startswith(("http://", "https://")):
        path = Path(location).expanduser()
        path = path if path.suffix == ".json" else path / FILE_NAME
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}); give the folder that `clickcut train "
                "pack` made, or the URL of its manifest"
            ) from error
        return ShardSource(
            parse_manifest(data, str(path)), FolderStore(path.parent), weight, window
        )
    url = location if location.endswith(".json") else f"{location.rstrip('/')}/{FILE_NAME}"
    transfer = Transfer()
    manifest = parse_manifest(transfer.read(url, MAX_BYTES), url)
    folder = Path(cache).expanduser() if cache else _user_cache()
    max_bytes = int(cache_gib * 2**30)
    _check_cache(manifest, window, max_bytes, folder)
    return ShardSource(manifest, WebStore(url, transfer, Cache(folder, max_bytes)), weight, window)


def _check_cache(manifest: Manifest, window: int, max_bytes: int, folder: Path) -> None:
    """With all shards in use at once, a cache that cannot hold them would fetch for every photo."""
    sizes = sorted((s.bytes for s in manifest.shards), reverse=True)
    # At a change of windows, drawing ahead needs shards of both.
    needed = sum(sizes[: 2 * window]) if window else sum(sizes)
    if needed > max_bytes:
        fitting = int(max_bytes // (2 * sizes[0]))
        advice = f"set window to at most {fitting}" if fitting else "pack smaller shards"
        raise DataError(
            f"the cache {folder} may hold {max_bytes / 2**30:.2f} GiB, but "
            f"{needed / 2**30:.2f} GiB of shards are in use at a time: raise data.cache_gib, "
            f"or {advice}"
        )


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "clickcut" / "shards"
