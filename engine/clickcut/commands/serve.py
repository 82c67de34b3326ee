"""`clickcut serve`: every field of `Settings` as a flag."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from clickcut.server.access_settings import ENV_PREFIX, AccessSettings
from clickcut.server.settings import Settings
from clickcut.server.settings_faults import faults_of

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def serve(**flags: object) -> None:
    """Start the gRPC server.

    Print its address and models, then "serving" when it is warm. SIGTERM or Ctrl-C drains it: open
    sessions may continue for --drain-seconds. Every option can also be set by the environment
    variable in brackets.
    """
    try:
        settings = Settings(**{k: v for k, v in flags.items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        for fault in faults_of(error):
            print(f"clickcut serve: {fault}", file=sys.stderr)
        raise typer.Exit(2) from error
    # Before gRPC is imported: it would log a line for each client that fails its TLS handshake.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from clickcut.server.process import run  # heavy: import it only with valid settings

    raise typer.Exit(run(settings))


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    option = typer.Option(
        help=f"{field.description}{_default(field.default)}",
        envvar=f"{ENV_PREFIX}{name.upper()}",
        metavar=None if field.annotation is bool else _metavar(field.annotation),
        show_default=False,
    )
    # Everything is parsed as text and checked by `Settings`, environment variables included.
    kind: Any = list[str] if get_origin(field.annotation) is list else str
    if field.annotation is bool:
        kind = bool
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _default(value: Any) -> str:
    """Return the sentence about a default; none for a switch, a list, or where there is none."""
    if value is None or isinstance(value, bool | list):
        return ""
    return f" Default: {value:g}." if isinstance(value, float) else f" Default: {value}."


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    kinds = {annotation, *get_args(annotation)}
    return next((text for kind, text in _METAVARS if kind in kinds), "TEXT")


_METAVARS = ((Path, "PATH"), (int, "NUMBER"), (float, "NUMBER"))


def _order(field: tuple[str, FieldInfo]) -> tuple[bool, bool]:
    """Put the address first, and what else says who may come in last; see --help."""
    name, _ = field
    return name != "address", name in AccessSettings.model_fields


def _with_flags_of_settings() -> None:
    parameters = [
        _parameter(name, field) for name, field in sorted(Settings.model_fields.items(), key=_order)
    ]
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {p.name: p.annotation for p in parameters}


_with_flags_of_settings()
app.command()(serve)
