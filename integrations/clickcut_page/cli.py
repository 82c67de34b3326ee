"""`clickcut page`: select objects in the browser."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from clickcut.commands.server_options import NO_ACCESS, AccessOptions, option_groups

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@option_groups
def page(
    picture: Annotated[
        Path | None,
        typer.Argument(help="Image file to open first.", exists=True, dir_okay=False),
    ] = None,
    server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Engine to use, a running `clickcut serve`. Default: start one.",
        ),
    ] = "",
    connection: AccessOptions = NO_ACCESS,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.", min=0, max=65535)] = 8321,
    token: Annotated[
        str,
        typer.Option(
            help="Secret that the browser must present. Default: none on loopback, otherwise a "
            "random one.",
            envvar="CLICKCUT_PAGE_TOKEN",
            show_default=False,
        ),
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Another host name by which the page may be reached, for example behind a proxy. "
            "Repeatable."
        ),
    ] = None,
    max_image_mib: Annotated[
        int, typer.Option(help="Maximum size of an image file (MiB).", min=1)
    ] = 128,
    max_connections: Annotated[
        int, typer.Option(help="Maximum number of open pages.", min=1, max=100_000)
    ] = 200,
    open_browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = False,
) -> None:
    """Select objects in the browser. Prints the page's address; Ctrl-C stops it."""
    from clickcut_page.serving import serve
    from clickcut_page.settings import MIB, PageSettings, is_loopback

    if not token and not is_loopback(host):
        token = secrets.token_urlsafe(16)
    settings = PageSettings(
        server=server,
        host=host,
        token=token,
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
        max_image_bytes=max_image_mib * MIB,
        max_connections=max_connections,
        picture=picture,
        access=connection.access(),
    )
    raise typer.Exit(serve(settings, port, open_browser))
