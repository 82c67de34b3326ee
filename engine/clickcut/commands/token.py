"""`clickcut token`: make tokens for `clickcut serve --tokens`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Create tokens for a server (clickcut serve --tokens FILE).",
)


@app.callback()
def root() -> None:
    """Create tokens for a server (clickcut serve --tokens FILE)."""


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of its user: letters, digits, ._@+-.")
    ],
) -> None:
    """Create a token; print it and its line for the server's token file.

    The server keeps only its hash: a lost token cannot be shown again, so create a new one.

    Example: clickcut token new alice
    """
    from clickcut.server.token_file import new_token

    token, line = new_token(name)
    print(f"token  {token}")
    print(f"line   {line}")
    print(
        "Give the token to its user (CLICKCUT_TOKEN), append the line to the token file, and "
        "reload it: kill -HUP PID",
        file=sys.stderr,
    )
