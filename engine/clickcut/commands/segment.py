"""`clickcut segment`: masks of one image, or of a folder in an annotation format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clickcut.commands.prompt_options import Box, Click, parse_box, parse_click, parse_window
from clickcut.commands.server_options import NO_ACCESS, AccessOptions, option_groups

if TYPE_CHECKING:
    from clickcut.commands.segmenter import Segmenter


@option_groups
def segment(
    image: Annotated[
        Path,
        typer.Argument(help="Image file: JPEG, PNG, WebP, BMP, TIFF; or a folder, with --clicks."),
    ],
    click: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y[,-]",
            help="A click at column X, row Y on the object, or with ',-' on the background. "
            "Repeatable; the order matters.",
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object, by its corners."),
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
        typer.Option(
            help="Initial mask to correct: a grey PNG of the image's size, non-zero = object."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A name from `clickcut models`, or the path of a bundle. Default: the model named "
            "default, or that of the server."
        ),
    ] = "",
    server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Use a running server. Default: compute in this process."
        ),
    ] = "",
    connection: AccessOptions = NO_ACCESS,
    cut: Annotated[
        bool, typer.Option(help="Snap the outline to the image's edges with a graph cut.")
    ] = True,
    window: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH",
            help="Sample values that are mapped to black and to white. Default: the range of the "
            "samples if they have more than 8 bits.",
        ),
    ] = "",
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Write an annotation format into the folder --out: png, png-indexed, coco, "
            "coco-polygons, yolo, label-studio, label-studio-polygons, labelme, cvat or geojson.",
        ),
    ] = "",
    table: Annotated[
        Path | None,
        typer.Option(
            "--clicks",
            metavar="FILE.csv",
            help="Clicks of many images: columns image, x, y and, optionally, positive (1 or 0), "
            "object (a number), label.",
        ),
    ] = None,
    label: Annotated[str, typer.Option(help="Class of the object, with --format.")] = "object",
    tolerance: Annotated[
        float,
        typer.Option(help="Maximum distance of polygons from the outline (pixels), with --format."),
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files, with --format.")
    ] = False,
) -> None:
    """Select an object in one image, or objects in a folder of images, and write the masks.

    Example: clickcut segment photo.jpg --click 190,330 --click 400,60,- --out mask.png

    Example: clickcut segment photos --clicks clicks.csv --format coco --out annotations
    """
    from clickcut.client.access import Access
    from clickcut.commands.segmenter import Segmenter
    from clickcut.errors import EventError

    clicks = [parse_click(text) for text in click or []]
    corners = parse_box(box) if box is not None else None
    if not clicks and corners is None and table is None and not image.is_dir():
        raise EventError("say where the object is: --click X,Y, --box X0,Y0,X1,Y1, or both")
    segmenter = Segmenter(
        server=server,
        access=connection.access() if server else Access(),
        model=model,
        cut=cut,
        box=corners,
        window=parse_window(window),
    )
    if not (format_name or table or image.is_dir()):
        _segment_one(segmenter, image, clicks, out, overlay, start_from)
        return
    if overlay is not None or start_from is not None:
        raise EventError("--overlay and --start-from are for one image without --format")
    from clickcut.commands import segment_formats

    with segmenter.many() as segment_path:
        code = segment_formats.run(
            image,
            table,
            clicks,
            segment_path,
            format_name=format_name or "coco",
            out=out,
            tolerance=tolerance,
            label=label,
            overwrite=overwrite,
        )
    raise typer.Exit(code)


def _segment_one(
    segmenter: Segmenter,
    image: Path,
    clicks: list[Click],
    out: Path | None,
    overlay: Path | None,
    start_from: Path | None,
) -> None:
    from clickcut.client.picture import Picture
    from clickcut.errors import EventError
    from clickcut.image_file.write import check_name, write_picture

    if out is None and overlay is None:
        raise EventError("say what to write: --out MASK.png, --overlay PICTURE.png, or both")
    for path in (out, overlay):
        if path is not None:
            check_name(path)
    data = Picture.of(image).data
    prepared = segmenter.prepared(data)
    initial = None
    if start_from is not None:
        from clickcut.encoding import from_png

        initial = from_png(Picture.of(start_from).data, prepared.height, prepared.width)
    mask = segmenter.mask_of(data, prepared, clicks, initial)
    if out is not None:
        write_picture(out, mask.astype("uint8") * 255)
    if overlay is not None:
        from clickcut.overlay import draw_overlay

        write_picture(overlay, draw_overlay(prepared.pixels, mask, clicks))
    selected = f"{int(mask.sum()):,} of {mask.size:,} pixels selected"
    print(f"{selected} with {_count(clicks, segmenter.box)}")


def _count(clicks: list[Click], box: Box | None) -> str:
    made = f"{len(clicks)} click{'' if len(clicks) == 1 else 's'}"
    return made if box is None else f"a box and {made}" if clicks else "a box"
