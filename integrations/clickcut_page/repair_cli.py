"""`clickcut repair`: repair the masks of an annotation file by clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickcut.commands.server_options import NO_ACCESS, AccessOptions, option_groups

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@option_groups
def repair(
    file: Annotated[Path, typer.Argument(help="Annotation file: COCO or labelme JSON.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images. Default: that of the file.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: NAME.repaired.json beside the annotation file."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out if it exists.")
    ] = False,
    server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Engine to use, a running `clickcut serve`. Default: start one.",
        ),
    ] = "",
    connection: AccessOptions = NO_ACCESS,
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.", min=0, max=65535)] = 8321,
    open_browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = False,
) -> None:
    """Go through the objects of an annotation file in the page and repair their masks by clicks.

    Every repaired object is written immediately; the rest of the file is left as it is.
    """
    from clickcut_page.repair import RepairList
    from clickcut_page.serving import serve
    from clickcut_page.settings import PageSettings

    target = out or file.with_name(f"{file.stem}.repaired.json")
    tasks = RepairList(file, images or file.parent, target, overwrite)
    print(f"repair    {len(tasks.tasks)} objects, written to {tasks.out}", flush=True)
    settings = PageSettings(server=server, access=connection.access())
    raise typer.Exit(serve(settings, port, open_browser, tasks))


if __name__ == "__main__":
    app()
