"""`clickcut export`: turn checkpoints into bundles and TensorRT plans.

    clickcut export onnx runs/mine/last.pt -o mine.onnx
    clickcut export metadata mine.onnx -o accurate.onnx --set name=accurate --set region.mirror=true
    clickcut export quantize mine.onnx -o mine.int8.onnx --data voc:DATA/voc:train
    clickcut export tensorrt mine.onnx -o mine.plan

Each command proves its result before it writes it, and writes nothing when the proof fails.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clickcut.installation import require
from clickcut_eval.data_spec import FORM

if TYPE_CHECKING:
    from clickcut.bundle.plan import PlanDescription
    from clickcut_export.to_tensorrt import Bounds

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Turn a checkpoint into ONNX, int8, fp16 and TensorRT; each step is verified.",
)

Output = Annotated[Path, typer.Option("--out", "-o", "--output", help="File to write.")]
Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar=FORM,
        help="Photographs with object masks, as for `clickcut train pack`, such as "
        "voc:DATA/voc:train or folder:DIR. Repeatable.",
    ),
]


class Precision(StrEnum):
    """What a bundle computes in."""

    int8 = "int8"
    fp16 = "fp16"


class QuantTarget(StrEnum):
    """What an int8 bundle is quantised for."""

    cpu = "cpu"
    tensorrt = "tensorrt"


def _say(text: str) -> None:
    print(text, flush=True)


def _wrote(path: Path) -> None:
    import hashlib

    data = path.read_bytes()
    _say(f"{path}: {len(data) / 2**20:.1f} MiB, sha256 {hashlib.sha256(data).hexdigest()}")


def _notes(path: Path | None) -> dict[str, Any]:
    from clickcut_export.errors import ExportError

    if path is None:
        return {}
    try:
        notes = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ExportError(f"--notes {path}: cannot be read as JSON ({error})") from error
    if not isinstance(notes, dict):
        raise ExportError(f"--notes {path}: must be one JSON object of metadata fields")
    return notes


@app.command()
def onnx(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of `clickcut train`.")],
    output: Output,
    size: Annotated[
        int | None,
        typer.Option(
            help="Side of the input (pixels), a multiple of 32. Default: that of the bundle from "
            "which the training began, or else of the training's crops."
        ),
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Leave height and width open; any multiples of 32.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "default",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    notes: Annotated[
        Path | None, typer.Option(help="JSON file with metadata fields that replace the defaults.")
    ] = None,
    data: Data = None,
    objects: Annotated[
        int,
        typer.Option(
            min=1, help="Number of objects of --data on which ONNX and PyTorch are compared."
        ),
    ] = 8,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Maximum difference of probability that is accepted."),
    ] = None,
) -> None:
    """Write a checkpoint's averaged weights as a bundle, compared with PyTorch on real inputs."""
    require("cpu,export", "torch", "onnx", "onnxscript", "onnxruntime")
    from dataclasses import replace

    from clickcut_export.parity import FLOAT32
    from clickcut_export.sessions import read_targets
    from clickcut_export.to_onnx import OnnxOptions, export_onnx

    accepted = FLOAT32 if tolerance is None else replace(FLOAT32, worst=tolerance)
    options = OnnxOptions(size, dynamic, name, version, _notes(notes), accepted)
    targets = read_targets(data, objects) if data else []
    _say(f"exporting {checkpoint}; a minute or so")
    parity = export_onnx(checkpoint, output, options, targets)
    _say(f"ONNX Runtime against PyTorch, {parity}")
    _wrote(output)


@app.command()
def metadata(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    output: Output,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a field, such as name=accurate or region.refine=0.5. Repeatable.",
        ),
    ] = None,
    notes: Annotated[
        Path | None, typer.Option(help="JSON file with metadata fields; --set takes precedence.")
    ] = None,
) -> None:
    """Copy a bundle with another name, input size, region options, defaults or facts."""
    require("cpu,export", "onnx", "onnxruntime")
    from clickcut_export.describe import change_metadata

    change_metadata(model, output, assignments or [], _notes(notes))
    _wrote(output)


@app.command()
def quantize(
    model: Annotated[Path, typer.Argument(help="A float bundle.")],
    output: Output,
    data: Data = None,
    precision: Annotated[
        Precision, typer.Option(help="Precision of the new bundle.")
    ] = Precision.int8,
    objects: Annotated[
        int,
        typer.Option(
            min=8,
            help="Number of objects of --data whose sessions are used to calibrate and compare.",
        ),
    ] = 96,
    target: Annotated[
        QuantTarget,
        typer.Option(help="Where an int8 bundle will run: cpu (uint8 activations) or tensorrt."),
    ] = QuantTarget.cpu,
    keep_float: Annotated[
        str,
        typer.Option(
            help="Convolutions that stay float besides the score: search, none, or node names, "
            "comma-separated."
        ),
    ] = "search",
    validate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:FOLDER[:SPLIT,...]",
            help="Count clicks on a data set of `clickcut eval`, such as grabcut:DATA/grabcut. "
            "Repeatable. Default: held-out objects of --data.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many objects of each data set.")
    ] = None,
    without_cut: Annotated[
        bool, typer.Option("--without-cut", help="Also count clicks without the graph cut.")
    ] = False,
    max_loss: Annotated[
        float,
        typer.Option(
            help="Maximum number of clicks per object that may be lost; beyond it nothing is "
            "written."
        ),
    ] = 0.15,
    report: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers to this file.")
    ] = None,
) -> None:
    """Make a float bundle smaller: int8, calibrated on simulated click sessions, or fp16."""
    require("cpu,export", "onnx", "onnxruntime", *(["torch"] if data else []))
    if precision is Precision.fp16:
        from clickcut_export.commands import run_fp16

        run_fp16(model, output, data or [], objects)
    else:
        from clickcut_export.commands import Int8Run, run_int8

        wanted = [name.strip() for name in keep_float.split(",") if name.strip()]
        chosen = None if wanted == ["search"] else [] if wanted == ["none"] else wanted
        cuts = (True, False) if without_cut else (True,)
        run_int8(
            Int8Run(
                model=model,
                output=output,
                data=tuple(data or ()),
                objects=objects,
                target=target.value,
                keep_float=chosen,
                validate=tuple(validate or ()),
                limit=limit,
                cuts=cuts,
                max_loss=max_loss,
                report=report,
            )
        )
    _wrote(output)


@app.command()
def tensorrt(
    model: Annotated[Path, typer.Argument(help="A bundle: float32, fp16, or int8 for TensorRT.")],
    output: Output,
    batch: Annotated[
        str, typer.Option(metavar="MIN,OPT,MAX", help="Batch sizes that the plan supports.")
    ] = "1,1,8",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="MIN,OPT,MAX",
            help="Sides of the input (pixels), for a bundle exported with --dynamic.",
        ),
    ] = None,
    capability: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute capability of a GPU, such as 8.9 (tensorrt-rtx). Repeatable. Default: "
            "8.0, 8.6, 8.9 and 12.0."
        ),
    ] = None,
    flavour: Annotated[
        str | None,
        typer.Option(help="tensorrt or tensorrt_rtx. Default: the first one that is installed."),
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="File that keeps measurements between builds (tensorrt).")
    ] = None,
    workspace: Annotated[
        int, typer.Option(min=1, help="Maximum scratch memory of a layer (MiB).")
    ] = 1024,
) -> None:
    """Build a TensorRT plan and its description; tensorrt-rtx needs no GPU for it."""
    require("cpu,export", "onnx")
    from clickcut_export.commands import check_plan
    from clickcut_export.to_tensorrt import PlanOptions, build_plan

    options = PlanOptions(
        batch=_bounds("--batch", batch),
        size=None if size is None else _bounds("--size", size),
        capabilities=tuple(capability) if capability else None,
        flavour=flavour,
        timing_cache=timing_cache,
        workspace_mib=workspace,
    )
    _print_plan(build_plan(model, output, options, _say))
    _say(check_plan(model, output))
    _wrote(output)


def _bounds(option: str, text: str) -> Bounds:
    from clickcut_export.errors import ExportError

    try:
        least, best, most = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ExportError(f"{option} {text}: write three whole numbers, such as 1,1,8") from error
    return least, best, most


def _print_plan(description: PlanDescription) -> None:
    facts = description.tensorrt
    _say(
        f"built by {facts.flavour} {facts.version}, {facts.precision}, for compute capability "
        f"{', '.join(facts.compute_capabilities)}; batch {_span(facts.profile.batch)}, "
        f"size {_span(facts.profile.size)}"
    )


def _span(bounds: Bounds) -> str:
    least, best, most = bounds
    return str(best) if least == most else f"{least} to {most}, best {best}"
