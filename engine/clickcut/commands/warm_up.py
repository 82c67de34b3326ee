"""`clickcut warm-up`: compile everything now, so that a start later has only to read it."""

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
            help="Keep the compiled kernels in this folder; set CLICKCUT_CACHE to it when they are "
            "to be used. Without it: beside the package where that can be written, or else in the "
            "user's cache folder.",
        ),
    ] = None,
) -> None:
    """Compile all kernels and keep them, for a container image or a package.

    They are for this kind of processor: on another one they are compiled again at the start. Who
    starts clickcut later needs to read the folder only.
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
            "the kernels are compiled, but cannot be kept: give a folder that can be written, "
            "--cache DIR"
        )
    where = f" in {cache}" if cache is not None else ""
    print(f"all kernels are kept{where}; ready after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    app()
