"""What `clickcut export quantize` and `tensorrt` do, step by step, with progress and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from clickcut.backends import load_predictor
from clickcut.errors import BackendError
from clickcut_eval.data_spec import evaluated
from clickcut_eval.machine import describe as describe_machine
from clickcut_eval.targets import packaged_target
from clickcut_export.errors import ExportError
from clickcut_export.graph import write_file
from clickcut_export.parity import FLOAT16, INT8, Parity, compare
from clickcut_export.pays import (
    Clicks,
    Speed,
    Validation,
    compare_speed,
    count_clicks,
    named_validation,
    verdict,
)
from clickcut_export.sessions import read_targets, record, record_all, split
from clickcut_export.to_fp16 import halve
from clickcut_export.to_int8 import Int8Result, QuantTarget, loaded, quantise

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELD_OUT = 3
"""One photograph of so many is not calibrated on, but compared on."""

_CLICKED_FOR = 0.85
"""IoU that clicks on held-out objects are counted to."""


@dataclass(frozen=True)
class Int8Run:
    """Everything that the command line says of an int8 export; see there."""

    model: Path
    output: Path
    data: tuple[str, ...]
    objects: int
    target: QuantTarget
    keep_float: Sequence[str] | None
    validate: tuple[str, ...]
    limit: int | None
    cuts: tuple[bool, ...]
    max_loss: float
    report: Path | None


def run_int8(run: Int8Run) -> None:
    """Calibrate, quantise, count clicks, time, and write the bundle if it loses few clicks.

    Raises:
        ExportError: no data, or more clicks lost than `run.max_loss`; nothing is written.
        ParityError: the int8 form is far off; nothing is written.
    """
    if not run.data:
        raise ExportError("int8 is calibrated on real sessions: give --data")
    console = Console(soft_wrap=True)
    validations = [named_validation(spec, run.limit) for spec in evaluated(run.validate)]
    float_model = load_predictor(run.model)
    calibrate_on, compare_on = split(read_targets(run.data, run.objects), _HELD_OUT)
    console.print(
        f"simulating sessions on {len(calibrate_on)} objects to calibrate on "
        f"and {len(compare_on)} to compare on"
    )
    calibration = record_all(calibrate_on, float_model)
    held_out = record_all(compare_on, float_model, seed=1)
    result = quantise(
        run.model, calibration, held_out, run.keep_float, run.target, INT8, console.print
    )
    console.print(f"int8 against float, {result.parity}")
    if not validations:
        validations = [Validation("held-out objects", compare_on[: run.limit], _CLICKED_FOR)]
    with TemporaryDirectory() as folder, loaded(result.data, Path(folder)) as int8_model:
        with _progress(console) as progress:
            clicks = count_clicks(float_model, int8_model, validations, run.cuts, progress)
        speed = compare_speed(float_model, int8_model, held_out[-1])
    _print_clicks(console, clicks, speed)
    outcome = verdict(clicks, speed, run.max_loss)
    console.print(f"int8 {outcome}")
    if run.report:
        document = _report(run, result, clicks, speed, outcome)
        write_file(run.report, json.dumps(document, indent=1).encode())
    if any(c.lost > run.max_loss for c in clicks):
        raise ExportError(
            f"int8 {outcome}. Nothing was written. Calibrate on more objects (--objects), keep "
            "more of the network in float (--keep-float), take --precision fp16, or accept the "
            "loss (--max-loss)"
        )
    write_file(run.output, result.data)


def run_fp16(model: Path, output: Path, data: Sequence[str], objects: int) -> None:
    """Convert to fp16, compare with float32 on the CPU, write the bundle.

    Raises:
        ParityError: the fp16 form is far off; nothing is written.
    """
    predictor = load_predictor(model)
    targets = read_targets(data, objects) if data else [packaged_target()]
    inputs = [batch for target in targets for batch in record(target, predictor, 5)]
    result = halve(model, inputs)
    print(f"fp16 against float32 on this CPU, {result.parity}")
    write_file(output, result.data)


def check_plan(model: Path, plan: Path) -> str:
    """Compare a plan with its bundle where there is a GPU; what came of it, for people.

    Raises:
        ParityError: the plan is far off; it stays written.
    """
    try:
        on_gpu = load_predictor(plan, backend="tensorrt")
    except BackendError as error:
        return f"not run here: {error}"
    on_cpu = load_predictor(model)
    inputs = record(packaged_target(), on_cpu, 5)
    parity: Parity = compare(on_cpu.predict, on_gpu.predict, inputs)
    parity.check(FLOAT16, f"the plan {plan.name}")
    return f"TensorRT against ONNX Runtime on the CPU, {parity}"


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], Callable[[], None]]]:
    with Progress(console=console, transient=True) as bars:

        def start(what: str, steps: int) -> Callable[[], None]:
            task = bars.add_task(what, total=steps)
            return lambda: bars.advance(task)

        yield start


def _print_clicks(console: Console, clicks: Sequence[Clicks], speed: Speed) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "objects", "float", "int8", "difference", "95 %"):
        table.add_column(title, justify="left" if not title else "right")
    for c in clicks:
        table.add_row(
            f"{c.name}, clicks @{100 * c.target_iou:.0f}{'' if c.cut else ', no cut'}",
            str(c.before["objects"]),
            f"{c.before['mean_clicks']:.2f}",
            f"{c.after['mean_clicks']:.2f}",
            f"{c.lost:+.2f}",
            f"{c.interval[0]:+.2f} to {c.interval[1]:+.2f}",
        )
    table.add_row(
        "prediction, ms",
        "",
        f"{speed.before:.1f}",
        f"{speed.after:.1f}",
        f"x {speed.before / speed.after:.2f}",
    )
    console.print(table)


def _report(
    run: Int8Run, result: Int8Result, clicks: Sequence[Clicks], speed: Speed, outcome: str
) -> dict[str, object]:
    return {
        "model": f"{result.metadata.name} {result.metadata.version}",
        "machine": describe_machine(),
        "target": run.target,
        "kept_float": list(result.kept_float),
        "parity": asdict(result.parity),
        "clicks": [asdict(c) | {"lost": c.lost} for c in clicks],
        "milliseconds": asdict(speed),
        "verdict": outcome,
    }
