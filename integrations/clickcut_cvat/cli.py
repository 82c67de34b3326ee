"""`clickcut cvat`: write the serverless function that CVAT's nuclio deploys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def cvat(
    folder: Annotated[Path, typer.Argument(help="Folder to write; created if it does not exist.")],
    server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Engine to use, a running `clickcut serve`, as reached from the function's "
            "container.",
        ),
    ],
    package: Annotated[
        str,
        typer.Option(
            help="What pip installs in the function's image: a wheel of clickcut, which is copied "
            "into the folder, or a requirement."
        ),
    ],
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS.")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CA certificates to trust (PEM); implies --tls. Copied into the folder.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Write CVAT's serverless function: main.py, function.yaml, and what they need.

    Deploy it with nuctl deploy --project-name cvat --path FOLDER --file FOLDER/function.yaml
    """
    from clickcut_cvat.function_files import write_function

    for path in write_function(folder, server, package, tls=tls, ca=ca, overwrite=overwrite):
        print(path)


if __name__ == "__main__":
    app()
