"""`clickcut train from-sessions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def from_sessions(
    folder: Annotated[Path, typer.Argument(help="Folder of `clickcut serve --record`.")],
    out: Annotated[Path, typer.Argument(help="Data set to create; it must not exist.")],
    min_clicks: Annotated[
        int, typer.Option(min=0, max=1000, help="Leave out objects with fewer clicks than this.")
    ] = 1,
) -> None:
    """Turn recorded sessions into a data set: --data folder:OUT.

    Each photo appears once, with a mask for each object. Sessions without a final mask or without
    a click, and masks that are there already, are left out and named.

    Example: clickcut train from-sessions records mine && clickcut train pack --data folder:mine
    """
    from clickcut_train.from_sessions import from_sessions as make

    report = make(folder, out, min_clicks)
    print(f"{out}: {report}")
