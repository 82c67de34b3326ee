"""`clickcut train`: pack data, train networks, average checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickcut_train.data_cli import pack, preview
from clickcut_train.extras import require
from clickcut_train.sessions_cli import from_sessions

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Train networks on photographs with object masks.",
)
app.command()(pack)
app.command()(preview)
app.command()(from_sessions)


@app.command()
def run(
    config: Annotated[
        str,
        typer.Option(
            metavar="FILE.toml|NAME", help="A TOML file, or a recipe; see `clickcut train recipes`."
        ),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Override a value of the file. Repeatable."
        ),
    ] = None,
    stage: Annotated[str, typer.Option(help="Run only this stage. Default: all stages.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: output.folder of the file.")
    ] = None,
) -> None:
    """Train, or resume a run that was stopped: the same command continues it exactly.

    On several processes: torchrun --nproc-per-node N -m clickcut train run ...
    """
    require("torch")
    import torch

    from clickcut_train.allocator import keep_freed_memory
    from clickcut_train.config_file import read_stages
    from clickcut_train.distributed import world
    from clickcut_train.recipes import find_config
    from clickcut_train.stages import run_file

    path = find_config(config)
    machine = read_stages(path, assignments or [])[0].config.machine
    torch.set_flush_denormal(True)
    keep_freed_memory()
    if machine.threads:
        torch.set_num_threads(machine.threads)
    with world(machine.device) as here:
        complete = run_file(path, assignments or [], stage, out, here)
    if not complete:
        raise typer.Exit(130)


@app.command("recipes")
def list_recipes(
    name: Annotated[str, typer.Argument(help="Print this recipe instead of the list.")] = "",
) -> None:
    """List the recipes that come with the package, or print one as a start for your own file.

    Example: clickcut train recipes default > mine.toml
    """
    from clickcut_train.recipes import find_config, recipes

    if name:
        typer.echo(find_config(name).read_text(encoding="utf-8"), nl=False)
        return
    rows = recipes()
    width = max(len(r.name) for r in rows)
    for recipe in rows:
        typer.echo(f"{recipe.name:<{width}}  {recipe.summary}")


@app.command()
def crf(
    voc: Annotated[Path, typer.Argument(help="PASCAL VOC tree with SegmentationClass.")],
    segmenter: Annotated[Path, typer.Option(help="Weights (.pth) of the segmenter.")],
    output: Annotated[
        Path,
        typer.Option(
            "--out", "-o", "--output", help="File to write the learned weights to (JSON)."
        ),
    ],
    split: Annotated[str, typer.Option(help="Split to learn from.")] = "train",
    steps: Annotated[
        int, typer.Option(help="Number of training steps, one photograph each.", min=1)
    ] = 400,
    held_out: Annotated[
        int, typer.Option(help="Hold out one of this many photographs, to measure on.", min=2)
    ] = 10,
) -> None:
    """Learn the CRF of the baseline `semantic-crf-learned` on top of its segmenter."""
    require("torch")
    from clickcut_eval.methods.segmenter import Segmenter
    from clickcut_train.crf_run import check_writable, learn_and_measure

    check_writable(output)
    learn_and_measure(voc, split, Segmenter(segmenter), output, steps, held_out)


@app.command()
def average(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(help="Two or more checkpoints or float bundles of one architecture."),
    ],
    output: Annotated[Path, typer.Option("--out", "-o", "--output", help="Checkpoint to write.")],
    share: Annotated[
        list[float] | None,
        typer.Option(
            help="Relative weight, given once for each checkpoint, in their order. Default: equal "
            "weights."
        ),
    ] = None,
) -> None:
    """Average the weights of several checkpoints; the result is exported like any checkpoint."""
    require("torch")
    from clickcut_train.average import average as mean
    from clickcut_train.checkpoint import write_checkpoint
    from clickcut_train.errors import CheckpointError

    result = mean(checkpoints, share or [])
    try:
        write_checkpoint(output, result)
    except OSError as error:
        raise CheckpointError(f"{output}: cannot be written ({error.strerror})") from error
    for parent in result.provenance["average"]:
        samples = f" ({parent['seen']} samples)" if "seen" in parent else ""
        print(f"{parent['share']:.3f} of {parent['file']}{samples}")
    print(output)
