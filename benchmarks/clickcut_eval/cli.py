"""`clickcut eval`: measure how many clicks each method needs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from clickcut.installation import require
from clickcut.whole_file import whole_file
from clickcut_eval.data_spec import EVALUATED, WITH_SPLITS, evaluated
from clickcut_eval.errors import RunError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Measure how many clicks each method needs to select objects, and report it.",
)

Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND:FOLDER[:SPLIT,...]",
        help=f"A data set; kinds are {', '.join(EVALUATED)}. Repeatable.",
    ),
]


@app.command()
def run(
    folders: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    data: Data = None,
    out: Annotated[
        Path, typer.Option(help="Run directory; an interrupted run resumes from it.")
    ] = Path("runs/eval"),
    methods: Annotated[
        str, typer.Option(help="Methods, comma-separated; `clickcut eval methods` lists them.")
    ] = "fcn-cut",
    model: Annotated[
        Path | None,
        typer.Option(help="Bundle of the methods fcn and fcn-cut. Default: the packaged model."),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="A further bundle, which adds the methods NAME and NAME-cut. Repeatable.",
        ),
    ] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="Weights (.pth) of the semantic methods' network.")
    ] = None,
    encoder: Annotated[Path | None, typer.Option(help="ONNX encoder of method sam.")] = None,
    decoder: Annotated[Path | None, typer.Option(help="ONNX decoder of method sam.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="METHOD.NAME=VALUE",
            help="Override a parameter of a method, such as fcn-cut.cut_lambda=0.3. Repeatable.",
        ),
    ] = None,
    rule: Annotated[
        str, typer.Option(help="Rule by which the simulated user places clicks: deepest or xu2016.")
    ] = "deepest",
    max_clicks: Annotated[
        int, typer.Option(min=1, help="Clicks after which the user gives up.")
    ] = 20,
    stop_at: Annotated[
        float,
        typer.Option(
            help="IoU at which the user stops; 0.9 saves time, but NoC@95 and the IoU after the "
            "last click are then unknown."
        ),
    ] = 1.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Measure at most this many objects of each data set.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Default: one per core.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Run on a Ray cluster: auto, local or ray://HOST:PORT."
        ),
    ] = None,
) -> None:
    """Let a simulated user select every object with every method; interrupted runs can be resumed.

    Example: clickcut eval run --data grabcut:DATA/grabcut --data voc:VOC2012:val
    """
    from clickcut_eval.methods import choose
    from clickcut_eval.protocol import Protocol
    from clickcut_eval.run import run as perform

    if folders or not data:
        where = folders[0] if folders else "DATA"
        raise typer.BadParameter(
            f"name each data set as --data KIND:FOLDER, such as --data grabcut:{where}/grabcut",
            param_hint="--data",
        )
    given = {"segmenter": segmenter, "encoder": encoder, "decoder": decoder}
    specs = choose(
        [m.strip() for m in methods.split(",") if m.strip()],
        model,
        {n: Path(p) for n, p in (_pair(text, "--bundle") for text in bundle or [])},
        {role: path for role, path in given.items() if path is not None},
        _parameters(assignments or []),
    )
    protocol = Protocol(rule, max_clicks, stop_at)  # type: ignore[arg-type]  # checked there
    command = shlex.join(["clickcut", "eval", *sys.argv[2:]])
    perform(
        evaluated(data),
        specs,
        out,
        protocol,
        limit=limit,
        workers=workers,
        ray=ray,
        command=command,
    )


@app.command()
def tune(
    data: Annotated[
        str,
        typer.Option(
            metavar="KIND:FOLDER[:SPLIT,...]",
            help="Training photographs, such as voc:VOC2012:train.",
        ),
    ],
    methods: Annotated[str, typer.Option(help="Methods, comma-separated. Default: all.")] = "",
    trials: Annotated[int, typer.Option(min=1, help="Parameter sets to try for each method.")] = 16,
    objects: Annotated[
        int, typer.Option(min=1, help="Objects to select with each parameter set.")
    ] = 24,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Add the trials to this file.")
    ] = None,
) -> None:
    """Tune the methods that do not learn, on training photographs only."""
    import json

    from clickcut_eval.tune import SPACE
    from clickcut_eval.tune import tune as search

    (spec,) = evaluated([data])
    if spec.kind in WITH_SPLITS and not spec.splits:
        raise typer.BadParameter(
            f"name the split to tune on, such as {spec}:train: nothing is reported on it",
            param_hint="--data",
        )
    if json_path is not None:
        _write(json_path, _text(json_path))  # fails now, not after an hour
    for method in [m.strip() for m in methods.split(",") if m.strip()] or list(SPACE):
        print(method)
        found = search(method, spec, trials, objects)
        print(f"best: {json.dumps(found[0])}")
        if json_path is not None:
            known = json.loads(_text(json_path))  # another search may have added to it
            _write(json_path, json.dumps(known | {method: found}, indent=1) + "\n")


@app.command()
def box(
    data: Data = None,
    model: Annotated[
        Path | None, typer.Option(help="Bundle to measure. Default: the packaged model.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Measure at most this many objects of each data set.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
) -> None:
    """Measure the IoU after a box around the object, and after one to three clicks in addition.

    Example: clickcut eval box --data grabcut:DATA/grabcut --data berkeley:DATA/berkeley
    """
    from clickcut.backends import load_predictor
    from clickcut.bundle import bundled_models
    from clickcut_eval.boxes import measure_boxes, table_of
    from clickcut_eval.jobs import one_thread

    if not data:
        raise typer.BadParameter("name each data set as --data KIND:FOLDER", param_hint="--data")
    one_thread()
    predictor = load_predictor(model or bundled_models()["default"], 1)
    table = table_of(measure_boxes(evaluated(data), predictor, limit))
    print(table)
    if out is not None:
        _write(out, table)


def _text(path: Path) -> str:
    """A file of trials as it is, JSON; {} when there is none.

    Raises:
        RunError: it cannot be read, or is not JSON.
    """
    import json

    try:
        text = path.read_text() if path.exists() else "{}\n"
        json.loads(text)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not a file of trials ({error})") from error
    return text


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror})") from error


def _pair(text: str, option: str) -> tuple[str, str]:
    name, given, path = text.partition("=")
    if not given or not name or not path:
        raise typer.BadParameter(f"write NAME=PATH, not {text!r}", param_hint=option)
    return name, path


def _parameters(texts: list[str]) -> dict[str, dict[str, float | str]]:
    out: dict[str, dict[str, float | str]] = {}
    for text in texts:
        where, equals, value = text.partition("=")
        method, dot, name = where.partition(".")
        if not equals or not dot or not method or not name:
            raise typer.BadParameter(
                f"write METHOD.NAME=VALUE, not {text!r}; a data set is given as "
                "--data KIND:FOLDER[:SPLIT,...]",
                param_hint="--set",
            )
        try:
            out.setdefault(method, {})[name] = float(value)
        except ValueError:
            out.setdefault(method, {})[name] = value
    return out


@app.command()
def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write. Default: report.html in the run directory.")
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(help="Show photographs; needs the data and models at their recorded paths."),
    ] = True,
    ours: Annotated[str, typer.Option(help="The method whose clicks are shown.")] = "fcn-cut",
    alone: Annotated[str, typer.Option(help="The same method without the graph cut.")] = "fcn",
) -> None:
    """Write one self-contained HTML page with the paper's tables and figures.

    The plot is also written as PNG and SVG, the tables as Markdown.
    """
    require("eval", "matplotlib")
    from clickcut_eval.report.page import write_report

    for path in write_report(
        run_directory, out or run_directory / "report.html", ours, alone, pictures
    ):
        print(path)


@app.command(name="methods")
def list_methods() -> None:
    """List the compared methods."""
    from clickcut_eval.methods import CLASSICAL, SEMANTIC

    for name, (title, _) in CLASSICAL.items():
        print(f"{name:18}{title}")
    print(f"{'fcn':18}Ours without graph cut (--model)")
    print(f"{'fcn-cut':18}Ours with graph cut (--model)")
    print(f"{'NAME, NAME-cut':18}The same for a further bundle (--bundle NAME=PATH)")
    for name, (title, _) in SEMANTIC.items():
        print(f"{name:18}{title} (--segmenter)")
    print(f"{'sam':18}A SAM-style pair of ONNX models (--encoder, --decoder)")
