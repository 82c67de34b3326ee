"""Files are written all or none, and never over others unless that was asked for."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from clickcut_formats.errors import FormatError


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is to be written.

    Attributes:
        files: content by relative name, "/" between folders.
        notes: what the format could not hold, one line each.
    """

    files: Mapping[str, bytes]
    notes: list[str] = field(default_factory=list)


def write(files: Mapping[str, bytes], folder: Path, overwrite: bool = False) -> list[Path]:
    """Write files below a folder, all or none.

    Args:
        files: content by relative name.
        folder: made if needed.
        overwrite: replace files that are there.

    Returns:
        The paths, in order.

    Raises:
        FormatError: a name leads out of the folder, a file is there already, or one cannot be
            written; nothing has changed then.
    """
    faults = [f"{name}: not a name below the folder" for name in files if not _is_below(name)]
    if faults:
        raise FormatError(str(folder), faults)
    targets = {folder / name: data for name, data in files.items()}
    if not overwrite:
        there = [f"{path}: exists already" for path in targets if os.path.lexists(path)]
        if there:
            raise FormatError("nothing was written; --overwrite replaces files", there)
    partial: dict[Path, Path] = {}
    try:
        for path, data in targets.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial[path] = _write_beside(path, data)
        _replace_all(partial)
    except OSError as error:
        where = error.filename or folder
        raise FormatError(str(where), [f"cannot be written ({error.strerror})"]) from error
    finally:
        for temporary in partial.values():
            temporary.unlink(missing_ok=True)
    return list(targets)


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _write_beside(path: Path, data: bytes) -> Path:
    if path.is_dir():
        raise IsADirectoryError(21, "it is a folder", str(path))
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name[:64]}.", suffix=".partial", dir=path.parent
    )
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's files are private
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _replace_all(partial: Mapping[Path, Path]) -> None:
    """Move all into place; when one fails, put back what was there."""
    undo: list[tuple[Path, bytes | None]] = []
    try:
        for path, temporary in partial.items():
            before = path.read_bytes() if path.exists() else None
            temporary.replace(path)
            undo.append((path, before))
    except BaseException:
        for path, before in reversed(undo):
            with contextlib.suppress(OSError):
                path.unlink() if before is None else path.write_bytes(before)
        raise
