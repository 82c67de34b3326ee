"""`clickcut bench`: measure this machine and a model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from clickcut.errors import BackendError

app = typer.Typer(no_args_is_help=True, help="Measure latency and accuracy on this machine.")

Json = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw them to this PNG.")]


def _need(*modules: str) -> None:
    """Stop at once, not after the measurement, when something is not installed."""
    if missing := [m for m in modules if importlib.util.find_spec(m) is None]:
        raise BackendError(
            f"not installed: {', '.join(missing)}; pip install 'clickcut[cpu,bench]'"
        )


@app.command()
def latency(
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with images/ and masks/; the packaged photograph when left out."),
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions of six clicks per size.")] = 20,
    json_path: Json = None,
    plot_path: Plot = None,
) -> None:
    """Milliseconds of a click, by stage, through a real server on loopback."""
    _need("scipy", "matplotlib")
    from clickcut_bench.latency import run

    run(images, sessions, json_path, plot_path)


@app.command()
def cut(
    quick: Annotated[bool, typer.Option("--quick", help="One photograph, fewer clicks.")] = False,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with images/ and masks/; the packaged photograph when left out."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A bundle; the packaged default when left out.")
    ] = None,
    json_path: Json = None,
    plot_path: Plot = None,
) -> None:
    """The graph cut alone, ours and PyMaxflow, on recorded clicks; masks must be the same."""
    _need("scipy", "matplotlib", "maxflow")
    from clickcut_bench.cut import run

    run(quick, json_path, plot_path, images, model)


@app.command()
def accuracy(
    data: Annotated[Path, typer.Argument(help="Folder that holds a folder for each data set.")],
    datasets: Annotated[str, typer.Option(help="Names, with commas between.")] = "grabcut,berkeley",
    model: Annotated[
        Path | None, typer.Option(help="A bundle; the packaged default when left out.")
    ] = None,
    cut_mask: Annotated[bool, typer.Option("--cut/--no-cut", help="Use the graph cut.")] = True,
    cut_lambda: Annotated[float | None, typer.Option(help="Instead of the bundle's.")] = None,
    cut_solver: Annotated[str, typer.Option(help="grid or pymaxflow.")] = "grid",
    limit: Annotated[int | None, typer.Option(help="Only this many objects of each set.")] = None,
    json_path: Json = None,
) -> None:
    """Mean clicks to reach an IoU, with a simulated user who clicks the deepest error."""
    from clickcut.bundle import bundled_models
    from clickcut_bench.accuracy import run

    changes: dict[str, float | bool] = {} if cut_mask else {"cut": False}
    if cut_lambda is not None:
        changes["cut_lambda"] = cut_lambda
    bundle = model or bundled_models()["default"]
    run(data, bundle, datasets.split(","), json_path, changes, cut_solver, limit)
