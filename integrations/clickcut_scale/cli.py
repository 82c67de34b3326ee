"""`clickcut scale`: run the server as several replicas, on Ray Serve."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clickcut.installation import require

if TYPE_CHECKING:
    from clickcut_scale.application import Arguments

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def root() -> None:
    """Run the server as several replicas, on Ray Serve."""


@app.command()
def up(
    replicas: Annotated[int, typer.Option(help="Number of replicas.", min=1, max=64)] = 2,
    port: Annotated[
        int,
        typer.Option(
            help="Port of the gRPC proxy, which listens on every interface; 0 for a free one.",
            min=0,
            max=65535,
        ),
    ] = 50051,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model to serve, as for `clickcut serve`. Repeatable."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of models, NAME/VERSION.onnx; SIGHUP reloads changed ones."),
    ] = None,
) -> None:
    """Run replicas behind a proxy on this machine, to try it out.

    Prints the address, then "serving". Ctrl-C ends everything. Other settings of `clickcut serve`
    are given as environment variables, such as CLICKCUT_STORE.
    """
    chosen: dict[str, Any] = {"model": model or []}
    if models is not None:
        chosen["models"] = str(models.resolve())
    _run(replicas, port, chosen)


def _run(replicas: int, port: int, models: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from clickcut.errors import ClickcutError

    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    try:
        require("scale", "ray")
        from clickcut_scale.application import Arguments
        from clickcut_scale.local import cluster, deploy, shares

        settings = shares(replicas)
        args = Arguments(settings=settings, replicas=replicas, cpus=1, drain_seconds=5)
        _check(settings, models)
        _say("starting Ray")
        with cluster(replicas, port) as port:
            _say(f"address   127.0.0.1:{port} (every interface, no TLS)")
            deploy(args, models, _say)
            _say("serving")
            for revision in itertools.count(1):
                reload.wait()
                reload.clear()
                _reload(args, {**models, "revision": revision})
    except ValidationError as error:
        for fault in error.errors():
            print(f"clickcut scale: {fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        raise typer.Exit(2) from error
    except ClickcutError as error:
        print(f"clickcut scale: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        _say("stopped")


def _reload(args: Arguments, models: dict[str, Any]) -> None:
    from clickcut.errors import ClickcutError
    from clickcut_scale.local import deploy

    try:
        _check(args.settings, models)
        deploy(args, models)
        _say("models reloaded")
    except ClickcutError as error:
        print(f"clickcut scale: models not reloaded: {error}", file=sys.stderr, flush=True)


def _check(settings: dict[str, Any], models: dict[str, Any]) -> None:
    """Open the store and load the models here first: an error is named at once.

    Raises:
        ClickcutError: they cannot be used.
    """
    from clickcut.server.model_registry import Models
    from clickcut.store import open_store
    from clickcut_scale.replica import settings_with

    checked = settings_with(settings, models)
    if (store := open_store(checked.store, checked.store_limits)) is not None:
        store.close()
    Models(checked)


def _say(text: str) -> None:
    print(text, flush=True)
