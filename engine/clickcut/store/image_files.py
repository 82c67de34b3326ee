"""Image files of a store on disk: a folder, a file for each image, written atomically."""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
from pathlib import Path

from clickcut.errors import StoreFullError, StoreUnavailableError
from clickcut.store.base import owner_key
from clickcut.whole_file import whole_file

_log = logging.getLogger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ImageFiles:
    """A folder of image files by owner and digest.

    Args:
        folder: created when the first image is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()

    def path(self, owner: str, digest: str) -> Path:
        """Return where an image is."""
        return self.folder / owner_key(owner) / digest[:2] / digest

    def has(self, owner: str, digest: str) -> bool:
        """Return whether there is a file."""
        return self.path(owner, digest).is_file()

    def write(self, owner: str, digest: str, data: bytes | bytearray) -> None:
        """Write a file unless it is there; it appears as a whole, and survives a power failure.

        Raises:
            StoreFullError: the disk is full.
            StoreUnavailableError: it cannot be written.
        """
        path = self.path(owner, digest)
        try:
            with self._writing:  # two threads would share the name of the partial file
                if path.is_file():
                    return
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with whole_file(path, unique=True) as file:
                    file.write(data)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _NO_ROOM:
                raise StoreFullError(
                    f"no room to store an image in {self.folder} ({reason}): free some, or have "
                    "the server started with a smaller --store-image-mib",
                    reason="store",
                ) from error
            raise StoreUnavailableError(
                f"cannot write an image to {self.folder} ({reason}); try again later"
            ) from error

    def read(self, owner: str, digest: str) -> bytes | None:
        """Return the contents of a file; None if it is not there or damaged, which is logged.

        Raises:
            StoreUnavailableError: it cannot be read.
        """
        path = self.path(owner, digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot read {path} ({error.strerror}); try again later"
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            _log.error("%s is damaged and was removed; clients send the image again", path)
            self.remove(owner, digest)
            return None
        return data

    def remove(self, owner: str, digest: str) -> None:
        """Remove a file, and what a killed process left of it."""
        path = self.path(owner, digest)
        try:
            for found in (path, *path.parent.glob(f"{digest}.*.partial")):
                found.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("cannot remove %s (%s)", path, error.strerror)
