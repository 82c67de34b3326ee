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
        typer.Option(
            help='Image sizes, comma-separated: "500x375", "1080p", "12 MP", "24 MP", "50 MP".'
        ),
    ] = "500x375,1080p,12 MP",
    clicks: Annotated[int, typer.Option(min=1, max=50, help="Clicks per session.")] = 6,
    json_path: Json = None,
    plot_path: Plot = None,
    old_images: OldImages = None,
) -> None:
    """Measure the latency of a click, by stage, through a real server on loopback."""
    require("cpu,bench", "scipy", "matplotlib")
    from clickcut_bench.latency import SIZES, run

    chosen = [name.strip() for name in sizes.split(",")]
    if unknown := [name for name in chosen if name not in SIZES]:
        raise typer.BadParameter(
            f"unknown size {unknown[0]!r}; choose from {', '.join(SIZES)}", param_hint="--sizes"
        )
    run(data, sessions, json_path, plot_path, chosen, clicks)


@app.command()
def cut(
    quick: Annotated[bool, typer.Option("--quick", help="One photograph, fewer clicks.")] = False,
    data: Data = "",
    model: Annotated[
        Path | None, typer.Option(help="Bundle to measure. Default: the packaged model.")
    ] = None,
    json_path: Json = None,
    plot_path: Plot = None,
    old_images: OldImages = None,
) -> None:
    """Measure the graph cut alone, ours and PyMaxflow's, on recorded clicks; masks must match."""
    require("cpu,bench", "scipy", "matplotlib", "maxflow")
    from clickcut_bench.cut import run

    run(quick, json_path, plot_path, data, model)


@app.command()
def backends(
    model: Annotated[
        list[Path] | None,
        typer.Argument(help="Bundles and plans to measure. Default: the packaged model."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Measure only this back-end. Repeatable. Default: all available ones."),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            help="Sides of the input (pixels), comma-separated. Default: the model's own. A bundle "
            "with a fixed size is measured at that size only."
        ),
    ] = "",
    batches: Annotated[str, typer.Option(help="Batch sizes, comma-separated.")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=3, help="Predictions per measurement.")] = 100,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads per prediction; 0 for one per core.")
    ] = 0,
    json_path: Json = None,
    plot_path: Plot = None,
) -> None:
    """Measure the network alone, warm: every available back-end, bundle and size."""
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
        str, typer.Option(help="Numbers of replicas, comma-separated; all are measured in turns.")
    ] = "1,2",
    sessions: Annotated[int, typer.Option(min=1, max=256, help="Sessions of the closed loop.")] = 8,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Length of each closed loop (seconds).")
    ] = 10.0,
    alone: Annotated[
        int,
        typer.Option(
            min=6, help="Clicks of a session that has the server to itself, in each round."
        ),
    ] = 60,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds; in each of them every server is measured once.")
    ] = 3,
    data: Data = "",
    json_path: Json = None,
) -> None:
    """Compare replicas behind Ray Serve's proxy with a plain server: throughput and latency."""
    require("cpu,bench,scale", "ray", "psutil")
    from clickcut_bench.scale import Plan, run

    numbers = tuple(parse_numbers("--replicas", replicas))
    run(
        Plan(numbers, sessions, seconds, alone, rounds, data=data),
        json_path,
    )


@app.command()
def batching(
    call_ms: Annotated[float, typer.Option(min=0, help="Time per call (milliseconds).")] = 4.0,
    input_ms: Annotated[
        float, typer.Option(min=0, help="Additional time per input (milliseconds).")
    ] = 0.5,
    callers: Annotated[str, typer.Option(help="Numbers of threads, comma-separated.")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=10, help="Predictions per caller.")] = 200,
    max_batch: Annotated[
        int, typer.Option(min=1, max=256, help="Maximum batch size, as for `clickcut serve`.")
    ] = 8,
) -> None:
    """Measure dynamic batching on a simulated GPU: callers with and without merging."""
    from clickcut_bench.batching import run

    run(call_ms, input_ms, parse_numbers("--callers", callers), repeats, max_batch)


@app.command()
def store(
    stores: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE...", help="Stores, as for `clickcut serve --store`, other than memory."
        ),
    ],
    repeats: Annotated[
        int, typer.Option(min=10, help="Commits and clicks to measure in each.")
    ] = 200,
    json_path: Json = None,
) -> None:
    """Measure what a store costs: commits, images, and clicks with and without it."""
    import tempfile

    from clickcut_bench.store import run

    with tempfile.TemporaryDirectory() as folder:
        run(stores, repeats, Path(folder), json_path)


@app.command()
@option_groups
def load(
    annotators: Annotated[
        str, typer.Option(help="Numbers of annotators, comma-separated; one run for each.")
    ] = "20",
    seconds: Annotated[float, typer.Option(min=1, help="Length of a run (seconds).")] = 60.0,
    warm_up: Annotated[
        float,
        typer.Option(
            min=0,
            help="Time at its beginning in which the annotators arrive (seconds); not counted.",
        ),
    ] = 10.0,
    think_seconds: Annotated[
        float, typer.Option(min=0.01, help="Mean time between two steps of an annotator (seconds).")
    ] = 4.0,
    think_spread: Annotated[
        float,
        typer.Option(
            min=0,
            max=3,
            help="Standard deviation of the logarithm of that time; 0 for a constant time.",
        ),
    ] = 0.5,
    undo_share: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of clicks that are undone and made again.")
    ] = 0.1,
    abandon_share: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of sessions that are never closed.")
    ] = 0.05,
    clicks: Annotated[int, typer.Option(min=1, max=100, help="Clicks per session.")] = 6,
    images: Annotated[int, typer.Option(min=1, help="Number of photographs.")] = 8,
    size: Annotated[
        str,
        typer.Option(metavar="WIDTHxHEIGHT", help="Size of the photographs; empty for their own."),
    ] = "500x375",
    data: Generated = "",
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]HOST:PORT",
            help="Running server. Repeatable, to compare several. Default: start one.",
        ),
    ] = None,
    connection: AccessOptions = NO_ACCESS,
    server_options: Annotated[
        str, typer.Option(help="Options of `clickcut serve` for the server that is started.")
    ] = "",
    patience: Annotated[
        float, typer.Option(min=0, help="Time for which a refused step is tried again (seconds).")
    ] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 0,
    json_path: Json = None,
    plot_path: Plot = None,
) -> None:
    """Put virtual annotators on a server, in an open loop: latency, refusals, fairness, memory."""
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
    round_trip_ms: Annotated[
        float, typer.Option(min=0, max=10_000, help="Round-trip time (milliseconds).")
    ] = 50.0,
    megabits: Annotated[
        float, typer.Option(min=0, help="Megabits per second in each direction; 0 for no limit.")
    ] = 10.0,
    images: Annotated[int, typer.Option(min=1, help="Number of photographs.")] = 6,
    clicks: Annotated[int, typer.Option(min=1, max=100, help="Clicks per session.")] = 6,
    data: Generated = "",
    json_path: Json = None,
) -> None:
    """Measure replies over a slow link: run lengths and PNG, whole masks and changes only."""
    require("cpu,bench", "psutil")
    from clickcut_bench.link import run

    run(data, images, clicks, round_trip_ms, megabits, json_path)
