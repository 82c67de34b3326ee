"""The command line. Nothing heavy is imported before a command needs it, so help comes at once.

`serve`, `models` and the commands of other packages (entry points of the group
`clickcut.commands`) are applications of their own; this one hands their arguments on without
looking at them.
"""

from __future__ import annotations

import io
import signal
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


Clicks = list[tuple[float, float, bool]]
Box = tuple[float, float, float, float]


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
    except (ImportError, AttributeError) as error:  # what a module without content leads to
        fault = opencv_fault()
        if not fault:
            raise
        print(f"clickcut: {fault}", file=sys.stderr)
        raise SystemExit(2) from error


def _print_any_name() -> None:
    """Let names that are not valid Unicode be printed: their bytes as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_in_order() -> None:
    """Let SIGTERM and SIGHUP unwind the command, so that what it has started ends with it."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # else someone wants it ignored: nohup
            signal.signal(number, end)


def add_commands() -> None:
    """Add the commands that are applications of their own, without importing them."""
    taken = {"serve", "segment", "models", "demo", "warm-up"}
    _hand_on("serve", "Start the gRPC server.", _load_serve)
    _hand_on("models", "List, inspect, verify, seal and reload models.", _load_models)
    _hand_on("warm-up", "Compile everything now, for images and packages.", _load_warm_up)
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


def _load_warm_up() -> Any:
    from clickcut.commands.warm_up import app as warm_up

    return warm_up


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
    image: Annotated[
        Path,
        typer.Argument(help="Image file: JPEG, PNG, WebP, BMP, TIFF; or a folder, with --clicks."),
    ],
    click: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y[,-]",
            help="A click at column X, row Y on the object, or with ',-' on the background. Give "
            "it several times; the order counts.",
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object: its corners."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the mask: a PNG, white on black. With --format: a folder."
        ),
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
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS to the server.")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificates of the authorities to trust, PEM; with TLS. Without it: those "
            "that gRPC brings.",
        ),
    ] = None,
    cut: Annotated[
        bool, typer.Option(help="Snap the outline to the image's edges with a graph cut.")
    ] = True,
    window: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH",
            help="The sample values of the file that are shown black and white. Without it: the "
            "range that samples of more than 8 bits take.",
        ),
    ] = "",
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Write an annotation format into the folder --out: png, png-indexed, coco, "
            "coco-polygons, yolo, label-studio, labelme, cvat or geojson.",
        ),
    ] = "",
    table: Annotated[
        Path | None,
        typer.Option(
            "--clicks",
            metavar="FILE.csv",
            help="Clicks of many images: columns image, x, y and, if wanted, positive (1 or 0), "
            "object (a number), label.",
        ),
    ] = None,
    label: Annotated[str, typer.Option(help="Class of the object, with --format.")] = "object",
    tolerance: Annotated[
        float, typer.Option(help="Pixels by which polygons may leave the outline, with --format.")
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there, with --format.")
    ] = False,
) -> None:
    """Select an object in one image, or objects in a folder of images, and write the masks.

    Example: clickcut segment photo.jpg --click 320,200 --click 40,30,- --out mask.png

    Example: clickcut segment photos --clicks clicks.csv --format coco --out annotations
    """
    if format_name or table or image.is_dir():
        from clickcut.client.channel import tls_credentials
        from clickcut.commands import segment_formats
        from clickcut.errors import EventError

        if overlay is not None or start_from is not None:
            raise EventError("--overlay and --start-from are for one image without --format")
        if table is None and not image.is_dir() and not click and box is None:
            raise EventError("say where the object is: --click X,Y, --box X0,Y0,X1,Y1, or both")
        options = {"out": out, "tolerance": tolerance, "label": label, "overwrite": overwrite}
        credentials = tls_credentials(tls, ca) if server else None
        corners, ends = parse_box(box) if box else None, parse_window(window)
        with segment_formats.segmenter(server, credentials, model, cut, corners, ends) as make:
            code = segment_formats.run(
                image,
                table,
                [parse_click(text) for text in click or []],
                make,
                format_name=format_name or "coco",
                **options,
            )
        raise typer.Exit(code)
    from clickcut.client.picture import Picture, window_from
    from clickcut.errors import EventError
    from clickcut.image_file.write import check_name, write_picture
    from clickcut.images import prepare

    clicks = [parse_click(text) for text in click or []]
    corners = None if box is None else parse_box(box)
    if not clicks and corners is None:
        raise EventError("say where the object is: --click X,Y, --box X0,Y0,X1,Y1, or both")
    if out is None and overlay is None:
        raise EventError("say what to write: --out MASK.png, --overlay PICTURE.png, or both")
    for path in (out, overlay):
        if path is not None:
            check_name(path)
    data, ends = Picture.of(image).data, parse_window(window)
    prepared = prepare(data, window=window_from(ends) if ends else None)
    initial = None
    if start_from is not None:
        from clickcut.encoding import from_png

        initial = from_png(Picture.of(start_from).data, prepared.height, prepared.width)
    if server:
        from clickcut.client import Client
        from clickcut.client.channel import tls_credentials

        with Client(server, credentials=tls_credentials(tls, ca)) as client:
            mask = client.segment(
                data,
                clicks,
                box=corners,
                start_from=initial,
                model=model,
                parameters={"cut": cut},
                window=ends,
            )
    else:
        mask = _segment_here(prepared, corners, clicks, initial, model, cut)
    if out is not None:
        write_picture(out, mask.astype("uint8") * 255)
    if overlay is not None:
        from clickcut.overlay import draw_overlay

        write_picture(overlay, draw_overlay(prepared.pixels, mask, clicks))
    print(f"{int(mask.sum()):,} of {mask.size:,} pixels selected with {_count(clicks, corners)}")


def _count(clicks: Clicks, box: Box | None) -> str:
    made = f"{len(clicks)} click{'' if len(clicks) == 1 else 's'}"
    return made if box is None else f"a box and {made}" if clicks else "a box"


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


def parse_box(text: str) -> Box:
    """X0,Y0,X1,Y1 as numbers.

    Raises:
        typer.BadParameter: another form.
    """
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"a box is X0,Y0,X1,Y1 and not {text!r}", param_hint="--box"
        ) from None
    return x0, y0, x1, y1


def parse_window(text: str) -> tuple[float, float] | None:
    """LOW,HIGH as two numbers; None for "".

    Raises:
        typer.BadParameter: another form.
    """
    if not text:
        return None
    low, _, high = text.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise typer.BadParameter(
            f"a window is LOW,HIGH and not {text!r}", param_hint="--window"
        ) from None


def _segment_here(
    image: Any,
    box: Box | None,
    clicks: Clicks,
    initial: NDArray[np.bool_] | None,
    model: str,
    cut: bool,
) -> NDArray[np.bool_]:
    from clickcut.backends import load_predictor
    from clickcut.session import ClickSession

    predictor = load_predictor(find_model(model))
    session = ClickSession(image, predictor, predictor.metadata.parameters.changed(cut=cut))
    if initial is not None:
        session.start_from(initial)
    if box is not None:
        session.box(*box)
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
