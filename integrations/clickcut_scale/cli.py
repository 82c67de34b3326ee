"""`clickcut scale`: run the server as several replicas, on Ray Serve."""

from __future__ import annotations

import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

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
        typer.Option(help="Model to serve, as of `clickcut serve`. Repeatable."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of models, NAME/VERSION.onnx; SIGHUP reloads changed ones."),
    ] = None,
) -> None:
    """Run replicas behind a proxy on this machine, to try it out.

    Prints the address, then "serving". Ctrl-C ends everything. Other settings of `clickcut serve`
    are given as environment variables, CLICKCUT_....
    """
    if find_spec("ray") is None or find_spec("ray.serve") is None:
        print(
            "clickcut scale: Ray Serve is not installed: pip install 'clickcut[scale]'",
            file=sys.stderr,
        )
        raise typer.Exit(2)
    chosen: dict[str, Any] = {"model": model or []}
    if models is not None:
        chosen["models"] = str(models.resolve())
    _run(replicas, port, chosen)


def _run(replicas: int, port: int, models: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from clickcut_scale.application import Arguments
    from clickcut_scale.local import DeployError, cluster, deploy, shares

    try:
        args = Arguments(
            settings=shares(replicas), models=models, replicas=replicas, cpus=1, drain_seconds=5
        )
    except ValidationError as error:
        for fault in error.errors():
            print(f"clickcut scale: {fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        raise typer.Exit(2) from error
    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    _say("starting Ray")
    try:
        with cluster(replicas, port) as port:
            _say(f"address   127.0.0.1:{port} (every interface, no TLS)")
            deploy(args, _say)
            _say("serving")
            revision = 0
            while True:
                reload.wait()
                reload.clear()
                revision += 1
                deploy(args.model_copy(update={"models": {**models, "revision": revision}}))
                _say("models read again; the log of a replica says if that failed")
    except DeployError as error:
        print(f"clickcut scale: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        _say("stopped")


def _say(text: str) -> None:
    print(text, flush=True)
