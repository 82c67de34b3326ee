"""Read files of /proc and /sys, and the limits of this process's control groups.

https://docs.kernel.org/admin-guide/cgroup-v2.html; version 1 and mixed systems are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_MAX_BYTES = 2**20
"""Maximum number of bytes read from a file."""


def read_text(path: Path) -> str:
    """Return the beginning of a file; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def group_folders(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of this process's control groups and of all groups above them.

    Args:
        root: of the file system.
        controller: "cpu" or "memory".

    Yields:
        The folder, which need not exist, and whether it is of version 2.
    """
    mounted = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            mounts = (mounted, mounted / "unified")
        elif controller in controllers.split(","):
            mounts = (mounted / controller, mounted / controllers)
        else:
            continue
        # In a container the path may be the host's, of which only the last folders are mounted.
        names = [part for part in group.split("/") if part not in ("", ".", "..")]
        for mount in mounts:
            for count in range(len(names), -1, -1):
                yield mount.joinpath(*names[:count]), not controllers
