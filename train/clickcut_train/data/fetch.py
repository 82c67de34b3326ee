"""Files from a web server: checked, retried, and kept in a cache of bounded size."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from clickcut.whole_file import whole_file
from clickcut_train.errors import DataError

ATTEMPTS = 4
BACKOFF = 0.5
"""Seconds before the second attempt; twice as long before each further one."""

_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_CHUNK = 2**20


class Transfer:
    """Reads files from one web server; safe to use from several threads."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT)

    def read(self, url: str, max_bytes: int) -> bytes:
        """A whole file of at most `max_bytes` bytes.

        Raises:
            DataError: it cannot be fetched, or has more bytes.
        """
        for attempt in range(ATTEMPTS):
            try:
                return b"".join(self._chunks(url, max_bytes))
            except _TransientError as error:
                _wait(url, attempt, error)
        raise AssertionError  # _wait raises at the last attempt

    def save(self, url: str, path: Path, size: int, sha256: str) -> None:
        """Fetch a file of known size and hash to `path`, which appears when it is right.

        Raises:
            DataError: it cannot be fetched, is another file, or the disk is full.
        """
        try:
            for attempt in range(ATTEMPTS):
                try:
                    with whole_file(path, unique=True) as file:
                        self._save_once(url, file, size, sha256)
                    return
                except _TransientError as error:
                    _wait(url, attempt, error)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "the disk of the cache is full" if full else f"cannot write: {error.strerror}"
            raise DataError(
                f"{path.parent}: {what}; free space, or name another folder as data.cache"
            ) from error

    def _save_once(self, url: str, file: BinaryIO, size: int, sha256: str) -> None:
        digest, count = hashlib.sha256(), 0
        for chunk in self._chunks(url, size):
            file.write(chunk)
            digest.update(chunk)
            count += len(chunk)
        if count != size or digest.hexdigest() != sha256:
            raise _TransientError(
                f"got {count:,} bytes with another hash than the {size:,} that the manifest names"
            )
        file.flush()
        os.fsync(file.fileno())

    def _chunks(self, url: str, max_bytes: int) -> Iterator[bytes]:
        try:
            response = self._pool.request("GET", url, preload_content=False, retries=3)
        except MaxRetryError as error:
            raise _TransientError(str(error.reason)) from error
        except HTTPError as error:
            raise DataError(f"{url}: {error}") from error
        try:
            if response.status in _TRANSIENT:
                raise _TransientError(f"the server answers {response.status}")
            if response.status != 200:
                raise DataError(f"{url}: the server answers {response.status} {response.reason}")
            count = 0
            for chunk in response.stream(_CHUNK, decode_content=True):
                count += len(chunk)
                if count > max_bytes:
                    raise DataError(f"{url}: more than the {max_bytes:,} bytes that are expected")
                yield chunk
        except HTTPError as error:
            raise _TransientError(str(error)) from error
        finally:
            response.close()


class _TransientError(Exception):
    """Worth another attempt."""


def _wait(url: str, attempt: int, error: Exception) -> None:
    if attempt == ATTEMPTS - 1:
        raise DataError(f"{url}: not fetched in {ATTEMPTS} attempts ({error})") from error
    time.sleep(BACKOFF * 2**attempt)


class Cache:
    """A folder of files named after their hashes, the least recently used ones dropped.

    Several processes may share it.

    Args:
        folder: made where it is missing.
        max_bytes: bytes that it may hold.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{folder} cannot be made ({error.strerror}); name another folder as data.cache"
            ) from error

    def get(self, transfer: Transfer, url: str, size: int, sha256: str) -> Path:
        """The file with this hash, fetched from `url` where it is missing or damaged.

        Raises:
            DataError: see `Transfer.save`.
        """
        path = self.folder / f"{sha256}.tar"
        with self._locked(sha256):
            if path.is_file() and has_hash(path, size, sha256):
                os.utime(path)
                return path
            self._make_room(size)
            transfer.save(url, path, size, sha256)
        return path

    def _make_room(self, size: int) -> None:
        found = []
        for path in self.folder.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, path))
        held = sum(s for _, s, _ in found)
        for _, used, path in sorted(found):
            if held + size <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            held -= used

    @contextlib.contextmanager
    def _locked(self, sha256: str) -> Iterator[None]:
        """One process at a time fetches a file."""
        with (self.folder / f"{sha256}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def has_hash(path: Path, size: int, sha256: str) -> bool:
    """Whether a file has this size and SHA-256."""
    if path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
