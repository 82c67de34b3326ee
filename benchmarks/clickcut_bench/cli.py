"""`clickcut bench`: measure speed on this machine. How good a model is: `clickcut eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickcut.installation import require

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Measure speed on this machine.",
)

Json = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw them to this PNG.")]


def _name_new_option(value: str | None) -> None:
    if value:
        raise typer.BadParameter(f"write --data grabcut:{value}", param_hint="--data")


Data = Annotated[
    str,
    typer.Option(
        metavar="KIND:FOLDER[:SPLIT,...]",
        help="Photographs with masks, as of `clickcut eval run`; default: the packaged one.",
    ),
]
OldImages = Annotated[str | None, typer.Option("--images", hidden=True, callback=_name_new_option)]


@app.command()
def latency(
    data: Data = "",
    sessions: Annotated[int, typer.Option(min=1, help="Sessions of six clicks per size.")] = 20,
    json_path: Json = None,
    plot_path: Plot = None,
    old_images: OldImages = None,
) -> None:
    """Milliseconds of a click, by stage, through a real server on loopback."""
    require("cpu,bench", "scipy", "matplotlib")
    from clickcut_bench.latency import run

    run(data, sessions, json_path, plot_path)


@app.command()
def cut(
    quick: Annotated[bool, typer.Option("--quick", help="One photograph, fewer clicks.")] = False,
    data: Data = "",
    model: Annotated[
        Path | None, typer.Option(help="A bundle; default: the packaged model.")
    ] = None,
    json_path: Json = None,
    plot_path: Plot = None,
    old_images: OldImages = None,
) -> None:
    """The graph cut alone, ours and PyMaxflow, on recorded clicks; masks must be the same."""
    require("cpu,bench", "scipy", "matplotlib", "maxflow")
    from clickcut_bench.cut import run

    run(quick, json_path, plot_path, data, model)


@app.command()
def backends(
    model: Annotated[
        list[Path] | None,
        typer.Argument(help="Bundles and plans; default: the packaged model."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Only this back-end; repeatable. Default: all available."),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            help="Comma-separated sides, pixels; default: the model's own. A bundle "
            "with a fixed size is measured at no other."
        ),
    ] = "",
    batches: Annotated[str, typer.Option(help="Comma-separated batch sizes.")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=3, help="Predictions per measurement.")] = 100,
    threads: Annotated[int, typer.Option(min=0, help="Per prediction; 0 for one per core.")] = 0,
    json_path: Json = None,
    plot_path: Plot = None,
) -> None:
    """The network alone, warm: every available back-end x bundle x size."""
    require("cpu,bench", "psutil", "matplotlib")
    from clickcut_bench.backends import run

    run(
        model or [],
        backend or [],
        _numbers("--sizes", sizes),
        _numbers("--batches", batches) or [1],
        repeats,
        threads,
        json_path,
        plot_path,
    )


@app.command()
def batching(
    call_ms: Annotated[float, typer.Option(min=0, help="Time per call, ms.")] = 4.0,
    input_ms: Annotated[float, typer.Option(min=0, help="Additional time per input, ms.")] = 0.5,
    callers: Annotated[str, typer.Option(help="Comma-separated numbers of threads.")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=10, help="Predictions per caller.")] = 200,
    max_batch: Annotated[
        int, typer.Option(min=1, max=256, help="Largest merged batch, as of `serve`.")
    ] = 8,
) -> None:
    """Dynamic batching on a stand-in for a GPU: callers with and without merging."""
    from clickcut_bench.batching import run

    run(call_ms, input_ms, _numbers("--callers", callers), repeats, max_batch)


@app.command()
def store(
    stores: Annotated[
        list[str],
        typer.Argument(metavar="STORE...", help="As of `clickcut serve --store`, not memory."),
    ],
    repeats: Annotated[int, typer.Option(min=10, help="Commits and clicks of each.")] = 200,
    json_path: Json = None,
) -> None:
    """Keeping sessions in a store: commits, images, and clicks with and without."""
    import tempfile

    from clickcut_bench.store import run

    with tempfile.TemporaryDirectory() as folder:
        run(stores, repeats, Path(folder), json_path)


def _numbers(option: str, text: str) -> list[int]:
    """Parse comma-separated positive whole numbers."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word) <= 4096 for word in words):
        raise typer.BadParameter(
            f"whole numbers from 1 to 4096 and not {text!r}", param_hint=option
        )
    return [int(word) for word in words]
