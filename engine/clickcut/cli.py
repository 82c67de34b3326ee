"""The command line. Nothing heavy is imported before a command needs it, so help comes at once.

`serve`, `models` and the commands of other packages (entry points of the group
`clickcut.commands`) are applications of their own; this one hands their arguments on without
looking at them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMMANDS = "clickcut.commands"
"""Entry-point group of further commands."""

app = typer.Typer(
    name="clickcut",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Select an object in an image with a few clicks: a gRPC server, and tools around it.",
)

Clicks = list[tuple[float, float, bool]]


def main() -> None:
    """Run the command line; errors that are meant for the user end in one line and exit code 2."""
    from clickcut.errors import ClickcutError

    add_commands()
    try:
        app()
    except ClickcutError as error:
        print(f"clickcut: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def add_commands() -> None:
    """Add `serve`, `models` and the commands of other packages, without importing them."""
    taken = {"serve", "segment", "models", "demo"}
    _hand_on("serve", "Start the gRPC server.", _load_serve)
    _hand_on("models", "List, inspect, verify, seal and reload models.", _load_models)
    for point in sorted(entry_points(group=COMMANDS), key=lambda p: p.name):
        if point.name not in taken:
            taken.add(point.name)
            package = point.module.partition(".")[0]
            _hand_on(point.name, f"Further commands, of the package {package}.", point.load)


def _load_serve() -> Any:
    from clickcut.commands.serve import app as serve

    return serve


def _load_models() -> Any:
    from clickcut.commands.models import app as models

    return models


def _hand_on(name: str, text: str, load: Callable[[], Any]) -> None:
    def command(context: typer.Context) -> None:
        try:
            application = load()
        except Exception as error:  # whatever another package raises when it is imported
            print(f"clickcut {name} cannot be loaded: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        application(args=context.args, prog_name=f"clickcut {name}")

    app.command(
        name,
        help=text,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(command)


# ---- segment


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="Image file: JPEG, PNG, WebP, BMP, TIFF.")],
    click: Annotated[
        list[str],
        typer.Option(
            metavar="X,Y[,-]",
            help="A click at column X, row Y on the object, or with ',-' on the background. Give "
            "it several times; the order counts.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the mask: a PNG, white on black.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Where to write the image with outline and clicks.")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(help="A mask to repair: a grey PNG of the image's size, non-zero = object."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A name from `clickcut models`, or the path of a bundle.")
    ] = "",
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Let a running server do it.")
    ] = "",
    cut: Annotated[
        bool, typer.Option(help="Snap the outline to the image's edges with a graph cut.")
    ] = True,
) -> None:
    """Select an object in one image and write its mask.

    Example: clickcut segment photo.jpg --click 320,200 --click 40,30,- --out mask.png
    """
    from clickcut.client.picture import Picture
    from clickcut.errors import EventError
    from clickcut.images import prepare

    clicks = [parse_click(text) for text in click]
    if out is None and overlay is None:
        raise EventError("say what to write: --out MASK.png, --overlay PICTURE.png, or both")
    data = Picture.of(image).data
    prepared = prepare(data)
    initial = None
    if start_from is not None:
        from clickcut.encoding import from_png

        initial = from_png(Picture.of(start_from).data, prepared.height, prepared.width)
    if server:
        from clickcut.client import Client

        with Client(server) as client:
            mask = client.segment(
                data, clicks, start_from=initial, model=model, parameters={"cut": cut}
            )
    else:
        mask = _segment_here(prepared, clicks, initial, model, cut)
    if out is not None:
        _write(out, mask.astype("uint8") * 255)
    if overlay is not None:
        from clickcut.overlay import draw_overlay

        _write(overlay, draw_overlay(prepared.pixels, mask, clicks)[:, :, ::-1])
    print(f"{int(mask.sum()):,} of {mask.size:,} pixels selected with {len(clicks)} clicks")


def parse_click(text: str) -> tuple[float, float, bool]:
    """X,Y or X,Y,+ or X,Y,- as x, y and whether positive.

    Raises:
        typer.BadParameter: another form.
    """
    x, _, rest = text.partition(",")
    y, _, sign = rest.partition(",")
    try:
        place = float(x), float(y)
    except ValueError:
        place = None
    if place is None or sign.strip() not in ("", "+", "-"):
        raise typer.BadParameter(f"a click is X,Y or X,Y,- and not {text!r}", param_hint="--click")
    return (*place, sign.strip() != "-")


def _segment_here(
    image: Any, clicks: Clicks, initial: NDArray[np.bool_] | None, model: str, cut: bool
) -> NDArray[np.bool_]:
    from clickcut.backends import load_predictor
    from clickcut.session import ClickSession

    predictor = load_predictor(find_model(model))
    session = ClickSession(image, predictor, predictor.metadata.parameters.changed(cut=cut))
    if initial is not None:
        session.start_from(initial)
    for x, y, positive in clicks:
        session.click(x, y, positive)
    return session.mask


def find_model(name: str) -> Path:
    """The bundle of a name or path; the default one for "".

    Raises:
        BundleError: there is none.
    """
    from clickcut.bundle.repository import find_models

    return find_models([name] if name else [])[0]


def _write(path: Path, pixels: Any) -> None:
    import cv2

    from clickcut.errors import ImageError

    if not cv2.haveImageWriter(path.name):
        raise ImageError(f"{path}: the name must end in .png, .jpg or another image format")
    data = cv2.imencode(path.suffix, pixels)[1]
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror})") from error


# ---- demo


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-output"),
) -> None:
    """Show what it does: a server, a photograph, a few clicks, a picture of every step."""
    from clickcut.commands.demo import run

    run(out)


if __name__ == "__main__":
    main()
