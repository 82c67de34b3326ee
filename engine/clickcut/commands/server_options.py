"""Options of the commands that speak to a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Tls = Annotated[bool, typer.Option("--tls", help="Use TLS.")]
Authorities = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="CA certificates to trust, PEM; implies --tls. Default: those bundled with gRPC.",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        metavar="FILE",
        help="Client certificate chain, PEM, for a server that asks for one; implies --tls.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Private key of the client certificate, PEM."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="CLICKCUT_TOKEN_FILE",
        help="File that holds the token for the server. Default: the variable CLICKCUT_TOKEN.",
    ),
]
PlaintextToken = Annotated[
    bool | None,
    typer.Option(
        "--plaintext-token",
        envvar="CLICKCUT_PLAINTEXT_TOKEN",
        help="Send the token without TLS to another machine as well; who can read the traffic "
        "then has it.",
    ),
]
