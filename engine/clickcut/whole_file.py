"""Write files atomically."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, unique: bool = False) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when complete, even after a power failure.

    Until then it is `NAME.partial`; a leftover of a killed process is replaced.

    Args:
        path: the file; its folder must exist.
        unique: several processes may write the same file: each has a partial file of its own.

    Raises:
        OSError: the disk is full or the folder is not writable; an existing file is unchanged.
    """
    own = f".{os.getpid()}" if unique else ""
    partial = path.with_name(f"{path.name}{own}.partial")
    try:
        with _open(partial) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must survive a power cut
    finally:
        os.close(folder)


def _open(path: Path) -> BinaryIO:
    return path.open("w+b")
