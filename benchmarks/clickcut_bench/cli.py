"""`clickcut bench`: measure speed on this machine. How good a model is: `clickcut eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickcut.commands.server_options import NO_ACCESS, AccessOptions, option_groups
from clickcut.installation import require
from clickcut_bench.options import (
    Data,
    Generated,
    Json,
    OldImages,
    Plot,
    parse_numbers,
    parse_server,
    parse_size,
    parse_words,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Measure speed on this machine.",
)


@app.command()
def latency(
    data: Data = "",
    sessions: Annotated[int, typer.Option(min=1, help="Sessions per size.")] = 20,
    sizes: Annotated[
        str,
        typer.Option(help='Comma-separated: "500x375", "1080p", "12 MP", "24 MP", "50 MP".'),
    ] = "500x375,1080p,12 MP",
    clicks: Annotated[int, typer.Option(min=1, max=50, help="Clicks of a session.")] = 6,
    json_path: Json = None,
    plot_path: Plot = None,
    old_images: OldImages = None,
) -> None:
    """Milliseconds of a click, by stage, through a real server on loopback."""
    require("cpu,bench", "scipy", "matplotlib")
    from clickcut_bench.latency import SIZES, run

    chosen = [name.strip() for name in sizes.split(",")]
    if unknown := [name for name in chosen if name not in SIZES]:
        raise typer.BadParameter(
            f"no size {unknown[0]!r}; choose from {', '.join(SIZES)}", param_hint="--sizes"
        )
    run(data, sessions, json_path, plot_path, chosen, clicks)


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
        parse_numbers("--sizes", sizes),
        parse_numbers("--batches", batches) or [1],
        repeats,
        threads,
        json_path,
        plot_path,
    )


@app.command()
def scale(
    replicas: Annotated[
        str, typer.Option(help="Comma-separated numbers of replicas, measured one beside another.")
    ] = "1,2",
    sessions: Annotated[int, typer.Option(min=1, max=256, help="Of the closed loop.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each closed loop.")] = 10.0,
    alone: Annotated[
        int, typer.Option(min=6, help="Clicks of a session without others, in each round.")
    ] = 60,
    rounds: Annotated[
        int, typer.Option(min=1, help="In each of which every server is measured once.")
    ] = 3,
    data: Data = "",
    json_path: Json = None,
) -> None:
    """Replicas behind Ray Serve's proxy beside a plain server: throughput, latency, the way."""
    require("cpu,bench,scale", "ray", "psutil")
    from clickcut_bench.scale import Plan, run

    numbers = tuple(parse_numbers("--replicas", replicas))
    run(
        Plan(numbers, sessions, seconds, alone, rounds, data=data),
        json_path,
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

    run(call_ms, input_ms, parse_numbers("--callers", callers), repeats, max_batch)


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


@app.command()
@option_groups
def load(
    annotators: Annotated[
        str, typer.Option(help="Comma-separated numbers of annotators, one run each.")
    ] = "20",
    seconds: Annotated[float, typer.Option(min=1, help="Length of a run.")] = 60.0,
    warm_up: Annotated[
        float,
        typer.Option(min=0, help="Seconds of it in which the annotators arrive; not counted."),
    ] = 10.0,
    think_seconds: Annotated[
        float, typer.Option(min=0.01, help="Mean time between two steps of an annotator.")
    ] = 4.0,
    think_spread: Annotated[
        float,
        typer.Option(min=0, max=3, help="Standard deviation of its logarithm; 0: constant."),
    ] = 0.5,
    undo_share: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of clicks that are undone, made again.")
    ] = 0.1,
    abandon_share: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of sessions that are never closed.")
    ] = 0.05,
    clicks: Annotated[int, typer.Option(min=1, max=100, help="Clicks of a session.")] = 6,
    images: Annotated[int, typer.Option(min=1, help="Number of photographs.")] = 8,
    size: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Size of them; empty: as they are.")
    ] = "500x375",
    data: Generated = "",
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]HOST:PORT",
            help="A running server; repeatable, to compare. Default: one is started.",
        ),
    ] = None,
    connection: AccessOptions = NO_ACCESS,
    server_options: Annotated[
        str, typer.Option(help="Options of `clickcut serve` for the server that is started.")
    ] = "",
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds for which a refused step is tried again.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the random numbers.")] = 0,
    json_path: Json = None,
    plot_path: Plot = None,
) -> None:
    """Virtual annotators on one server, in an open loop: latency, refusals, fairness, memory."""
    require("cpu,bench", "psutil", "matplotlib")
    if warm_up >= seconds:
        raise typer.BadParameter(
            "it leaves no time to count: give a larger --seconds", param_hint="--warm-up"
        )
    from clickcut_bench.load.plan import Habits
    from clickcut_bench.load.run import Load, run

    run(
        Load(
            annotators=tuple(parse_numbers("--annotators", annotators)) or (20,),
            seconds=seconds,
            warm_up=warm_up,
            habits=Habits(think_seconds, think_spread, undo_share, abandon_share),
            clicks=clicks,
            images=images,
            size=parse_size(size),
            data=data,
            patience=patience,
            seed=seed,
        ),
        [parse_server(text) for text in server or []],
        parse_words("--server-options", server_options),
        json_path,
        plot_path,
        connection.access(),
    )


@app.command()
def link(
    round_trip_ms: Annotated[float, typer.Option(min=0, max=10_000, help="Delay.")] = 50.0,
    megabits: Annotated[
        float, typer.Option(min=0, help="Per second, in each direction; 0: unlimited.")
    ] = 10.0,
    images: Annotated[int, typer.Option(min=1, help="Number of photographs.")] = 6,
    clicks: Annotated[int, typer.Option(min=1, max=100, help="Clicks of a session.")] = 6,
    data: Generated = "",
    json_path: Json = None,
) -> None:
    """Replies over a slow link: run lengths and PNG, whole masks and what changed."""
    require("cpu,bench", "psutil")
    from clickcut_bench.link import run

    run(data, images, clicks, round_trip_ms, megabits, json_path)
