"""The command line. Nothing heavy is imported before a command needs it, so help comes at once.

`serve`, `models` and the commands of other packages (entry points of the group
`clickcut.commands`) are separate applications; their arguments are passed on unparsed.
"""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from clickcut.commands.segment import segment

COMMANDS = "clickcut.commands"
"""Entry-point group of further commands."""

_SUMMARY = re.compile(r'"""`clickcut [\w-]+`: ([^.]+\.)')
"""First line of such a command's module, up to the end of the sentence."""

app = typer.Typer(
    name="clickcut",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import clickcut

        print(f"clickcut {clickcut.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Select an object in an image with a few clicks: a gRPC server, and tools around it."""


def main() -> None:
    """Run the command line; errors that are meant for the user end in one line and exit code 2."""
    from clickcut.errors import ClickcutError
    from clickcut.installation import opencv_fault
    from clickcut.processor import limit_library_threads

    limit_library_threads()
    _print_any_name()
    _end_in_order()
    add_commands()
    try:
        app()
    except ClickcutError as error:
        print(f"clickcut: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except (ImportError, AttributeError) as error:  # what using an empty module raises
        fault = opencv_fault()
        if not fault:
            raise
        print(f"clickcut: {fault}", file=sys.stderr)
        raise SystemExit(2) from error


def _print_any_name() -> None:
    """Print names that are not valid Unicode with their bytes escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_in_order() -> None:
    """Make SIGTERM and SIGHUP unwind the stack, so that child processes are stopped."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # otherwise it is ignored on purpose: nohup
            signal.signal(number, end)


def add_commands() -> None:
    """Add the commands that are applications of their own, without importing them."""
    taken = {"serve", "segment", "models", "demo", "warm-up", "doctor", "health", "token"}
    _hand_on("serve", "Start the gRPC server.", _load_serve)
    _hand_on("models", "List, inspect, verify, seal and reload models.", _load_models)
    _hand_on(
        "warm-up", "Compile all kernels now, for container images and packages.", _load_warm_up
    )
    _hand_on("doctor", "Check the installation, the machine and a server.", _load_doctor)
    _hand_on("health", "Ask a server whether it serves.", _load_health)
    _hand_on("token", "Create tokens for a server that asks for one.", _load_token)
    for point in sorted(entry_points(group=COMMANDS), key=lambda p: p.name):
        if point.name not in taken:
            taken.add(point.name)
            _hand_on(point.name, _summary(point.module), point.load)


def _summary(module: str) -> str:
    """Return what the docstring of a command's module says first, without importing it."""
    package, *names = module.split(".")
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # ValueError: loaded, but without a specification
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder, *names).with_suffix(".py")
        if names and file.is_file():
            with file.open(encoding="utf-8", errors="replace") as lines:
                found = _SUMMARY.match(lines.readline())
            if found:
                return found[1][0].upper() + found[1][1:]
    return f"Commands of the package {package}."


def _load_serve() -> Any:
    from clickcut.commands.serve import app as serve

    return serve


def _load_models() -> Any:
    from clickcut.commands.models import app as models

    return models


def _load_warm_up() -> Any:
    from clickcut.commands.warm_up import app as warm_up

    return warm_up


def _load_doctor() -> Any:
    from clickcut.commands.doctor import app as doctor

    return doctor


def _load_health() -> Any:
    from clickcut.commands.health import app as health

    return health


def _load_token() -> Any:
    from clickcut.commands.token import app as token

    return token


def _hand_on(name: str, text: str, load: Callable[[], Any]) -> None:
    def command(context: typer.Context) -> None:
        try:
            application = load()
        except Exception as error:  # importing another package may raise anything
            print(f"clickcut {name} cannot be loaded: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        application(args=context.args, prog_name=f"clickcut {name}")

    app.command(
        name,
        help=text,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(command)


app.command()(segment)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-output"),
) -> None:
    """Run a demo session: start a server, select an object, write a picture of every step."""
    from clickcut.commands.demo import run

    run(out)


if __name__ == "__main__":
    main()
