"""`clickcut warm-up`: compile all kernels now, so that a later start only reads them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def warm_up(
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the compiled kernels to this folder; to use them, set CLICKCUT_CACHE. "
            "Default: beside the package if that is writable, otherwise the user's cache "
            "folder.",
        ),
    ] = None,
) -> None:
    """Compile all kernels and cache them, for a container image or a package.

    They are for this type of processor; on another one they are compiled again at the start. To use
    them, clickcut only needs to read the folder.
    """
    if cache is not None:
        os.environ["CLICKCUT_CACHE"] = str(cache.absolute())  # read when kernels are compiled
    from clickcut import kernels
    from clickcut.backends import load_predictor
    from clickcut.bundle import bundled_models
    from clickcut.errors import BackendError
    from clickcut.warm_up import warm_up_all

    began = time.monotonic()
    predictor = load_predictor(bundled_models()["default"])
    warm_up_all([predictor], "grid", lambda line: print(line, flush=True))
    if not kernels.kept():
        raise BackendError(
            "the kernels are compiled, but cannot be cached: give a writable folder, --cache DIR"
        )
    where = f" in {cache}" if cache is not None else ""
    print(f"all kernels are cached{where}; ready after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    app()
