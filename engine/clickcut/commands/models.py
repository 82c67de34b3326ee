"""`clickcut models`: list, inspect, verify, seal and reload models."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from clickcut.commands.server_options import (
    NO_ACCESS,
    NO_TLS,
    AccessOptions,
    TlsOptions,
    option_groups,
)

if TYPE_CHECKING:
    from clickcut.bundle import BundleMetadata
    from clickcut.bundle.repository import ModelFile
    from clickcut.client.access import Access


class _ListByDefault(TyperGroup):
    """`clickcut models` and `clickcut models FILE` are `clickcut models list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--help" not in args[:1] and (not args or args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ListByDefault,
    add_completion=False,
    rich_markup_mode=None,
    help="List models (without a command), inspect, verify, seal and reload them.",
)

Wanted = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="Paths of bundles or plans, names of bundled models, or NAME[@VERSION] of --models.",
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option("--models", metavar="PATH", help="Folder of models, NAME/VERSION.onnx."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


_FILE_COLUMNS = 100_000
"""Width of tables that are not printed to a terminal."""


class _Row(NamedTuple):
    """A model in a list: the name to request it by, and its share of the sessions of its name."""

    use_as: str
    metadata: BundleMetadata
    share: float = 1.0


@app.command("list")
@option_groups
def list_models(
    wanted: Wanted = None,
    folder: Folder = None,
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Ask a running server instead.")
    ] = "",
    connection: AccessOptions = NO_ACCESS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the full metadata as JSON.")
    ] = False,
) -> None:
    """List the models of a folder, or those that come with clickcut, and the given files."""
    from clickcut.bundle import bundled_models

    if server:
        rows = _rows_of_server(server, connection.access())
    else:
        names = [*(bundled_models() if folder is None else ()), *(wanted or ())]
        rows = [_Row(_use_as(f, folder), f.metadata) for f in _read(names, folder)]
    if as_json:
        print(json.dumps([row.metadata.model_dump(mode="json") for row in rows], indent=2))
        return
    _print_models(rows)


def _rows_of_server(server: str, access: Access) -> list[_Row]:
    from clickcut.bundle import check_metadata
    from clickcut.client import Client
    from clickcut.errors import printable

    with Client(server, **access.arguments) as client:
        return [
            _Row(
                printable(m.name if m.share == 1 else f"{m.name}@{m.version}", 256),
                check_metadata(m.metadata, f"{server}, model {m.name}"),
                m.share,
            )
            for m in client.models()
        ]


def _console() -> Console:
    """Return a console for tables; in a file or pipe each row is one line, however long."""
    wide = None if sys.stdout.isatty() else _FILE_COLUMNS
    return Console(highlight=False, markup=False, width=wide)


def _read(names: Sequence[str], folder: Path | None) -> list[ModelFile]:
    from clickcut.bundle.repository import check_place, find_models, read_model

    files = [read_model(path) for path in find_models(names, folder)]
    for file in files:
        check_place(file.path, folder, file.metadata)
    return files


def _use_as(file: ModelFile, folder: Path | None) -> str:
    """Return the name or path for `serve --model`."""
    from clickcut.bundle import bundled_models

    if folder is not None and file.path.parent.parent == folder:
        return f"{file.metadata.name}@{file.metadata.version}"
    names = {path: name for name, path in bundled_models().items()}
    return names.get(file.path, str(file.path))


def _print_models(rows: Sequence[_Row]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    shared = any(row.share < 1 for row in rows)
    titles = ["use as", "name", "version", "architecture", "input", "clicks", "accuracy"]
    for title in (*titles[:3], *(["share"] if shared else []), *titles[3:]):
        table.add_column(title, overflow="fold")
    for row in rows:
        m = row.metadata
        accuracy = ", ".join(f"{name} {value:.2f}" for name, value in m.accuracy.items())
        table.add_row(
            row.use_as,
            m.name,
            m.version,
            *([f"{row.share:.0%}"] if shared else []),
            m.architecture,
            f"{m.input_size} x {m.input_size}",
            m.guidance.encoding,
            accuracy or "not stated",
        )
    _console().print(table)


@app.command()
def inspect(wanted: Wanted = None, folder: Folder = None, as_json: AsJson = False) -> None:
    """Show the full metadata of models, and facts about their files."""
    described = [_description(file) for file in _read(wanted or [], folder)]
    if as_json:
        print(json.dumps(described, indent=2))
        return
    console = _console()
    for document in described:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in _flat(document):
            table.add_row(key, value)
        console.print(table, "")


def _description(file: ModelFile) -> dict[str, object]:
    document: dict[str, object] = {
        "file": str(file.path),
        "size": f"{file.nbytes / 2**20:.1f} MiB",
        "content_sha256": file.sha256,
        "protected": "yes"
        if file.protected
        else "no seal and no hash file: damage is not detected",
    }
    document |= file.metadata.model_dump(mode="json")
    if file.path.suffix == ".plan":
        from clickcut.bundle.plan import read_description

        document["tensorrt"] = read_description(file.path).tensorrt.model_dump(mode="json")
    return document


def _flat(value: object, name: str = "") -> list[tuple[str, str]]:
    """Return rows of a document: `a.b` and its value."""
    if isinstance(value, dict) and value:
        inner = ((f"{name}.{key}" if name else str(key), item) for key, item in value.items())
        return [row for key, item in inner for row in _flat(item, key)]
    if isinstance(value, list):
        return [(name, ", ".join(map(str, value)) or "none")]
    return [(name, "none" if value == {} else str(value))]


@app.command()
def verify(
    wanted: Wanted = None,
    folder: Folder = None,
    backend: Annotated[
        str,
        typer.Option(metavar="NAME", help="Load them in this back-end instead of the default one."),
    ] = "",
) -> None:
    """Check models: hash, metadata, operators, shapes, and one prediction on a blank image.

    Exit code 2 when one of them cannot be used.
    """
    from clickcut.backends import load_predictor
    from clickcut.backends.probe import probe
    from clickcut.bundle.repository import check_place, find_models, read_model
    from clickcut.errors import ClickcutError

    console, bad = Console(highlight=False, markup=False, soft_wrap=True), 0
    for path in find_models(wanted or [], folder, backend):
        try:
            file = read_model(path)
            check_place(path, folder, file.metadata)
            probe(path)
            predictor = load_predictor(path, backend=backend)
            predictor.warm_up()
        except ClickcutError as error:
            bad += 1
            text = str(error)
            console.print(f"BAD  {text if text.startswith(str(path)) else f'{path}: {text}'}")
            continue
        name = f"{file.metadata.name}@{file.metadata.version}"
        seal = (
            f"content sha256 {file.sha256[:16]}" if file.protected else "no seal and no hash file"
        )
        console.print(f"ok   {path}: {name} in {predictor.backend}, {seal}")
    if bad:
        raise typer.Exit(2)


@app.command()
def seal(
    path: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Bundles; changed in place.")
    ],
) -> None:
    """Write a seal into bundles, the SHA-256 of all other bytes, so that damage is detected."""
    from clickcut.bundle.file import seal_file

    for file in path:
        print(f"{file}: sealed, content sha256 {seal_file(file)}")


@app.command()
@option_groups
def reload(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="The server's --admin-address.")
    ],
    tls: TlsOptions = NO_TLS,
) -> None:
    """Make a running server reload its models, and print what changed."""
    import grpc

    from clickcut.client.channel import Endpoint
    from clickcut.client.failures import error_of_rpc
    from clickcut.v1 import admin_pb2, admin_pb2_grpc

    endpoint = Endpoint(address, tls.credentials())
    try:
        with endpoint.channel() as channel:
            stub = admin_pb2_grpc.AdminStub(channel)
            reply = stub.ReloadModels(admin_pb2.ReloadModelsRequest(), timeout=600)
    except grpc.RpcError as error:
        known = error_of_rpc(error, endpoint)
        raise type(known)(f"{known}; this must be the server's --admin-address") from error
    for kind in ("added", "replaced", "removed", "kept"):
        if names := list(getattr(reply, kind)):
            print(f"{kind:<9} {', '.join(names)}")
