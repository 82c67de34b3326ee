"""Options of the commands that speak to a server, declared once.

A command takes a group of them as one parameter:

    @app.command()
    @option_groups
    def command(server: str, access: AccessOptions = NO_ACCESS) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    import grpc

    from clickcut.client.access import Access


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to speak TLS to a server."""

    tls: Annotated[bool, typer.Option("--tls", help="Use TLS.")] = False
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CA certificates to trust (PEM); implies --tls. Default: those bundled with gRPC.",
        ),
    ] = None
    cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Client certificate chain (PEM), for a server that asks for one; implies --tls.",
        ),
    ] = None
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key of the client certificate (PEM)."),
    ] = None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return the credentials for TLS; None for plain text.

        Raises:
            EventError: a file cannot be read or is not what it should be.
        """
        from clickcut.client.channel import tls_credentials

        return tls_credentials(self.tls, self.ca, self.cert, self.key)


@dataclass(frozen=True, slots=True)
class AccessOptions(TlsOptions):
    """How to be let in by a server: TLS and a token."""

    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CLICKCUT_TOKEN_FILE",
            help="File that holds the token for the server. Default: the environment variable "
            "CLICKCUT_TOKEN.",
        ),
    ] = None
    plaintext_token: Annotated[
        bool | None,
        typer.Option(
            "--plaintext-token",
            envvar="CLICKCUT_PLAINTEXT_TOKEN",
            help="Send the token without TLS, even to another machine; anyone who can read the "
            "traffic can read it.",
        ),
    ] = None

    def access(self) -> Access:
        """Return the access that the options ask for.

        Raises:
            EventError: a file cannot be read or is not what it should be.
        """
        from clickcut.client.access import Access

        return Access.of(
            self.tls, self.ca, self.cert, self.key, self.token_file, self.plaintext_token
        )


NO_TLS = TlsOptions()
"""Default of a command's parameter."""

NO_ACCESS = AccessOptions()
"""Default of a command's parameter."""


def option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its groups: parameters whose type is a dataclass of options."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if not is_dataclass(group):
            parameters.append(parameter)
            continue
        groups[parameter.name] = group
        types = get_type_hints(group, include_extras=True)
        parameters += [
            parameter.replace(name=f.name, default=f.default, annotation=types[f.name])
            for f in fields(group)
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in fields(group)})
        command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
