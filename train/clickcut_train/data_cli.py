"""`clickcut train pack` and `clickcut train preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clickcut.processor import available_cpus
from clickcut_eval.data_spec import FORM
from clickcut_train.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clickcut_train.data.config import DataConfig

_PREVIEWED = 200
"""Photos of each data set that a preview reads."""

_OLD = ("--voc", "--sbd", "--coco", "--davis", "--folder", "--shards")


def _name_new_option(values: list[str] | None) -> None:
    if values:
        raise typer.BadParameter(
            f"write --data {FORM}, such as --data voc:VOC2012:train", param_hint="--data"
        )


Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar=FORM,
        help="A data set: voc, sbd, coco, davis, folder (images/ and masks/) or shards, such as "
        "voc:VOC2012:train,extra or coco:coco:train2017@2. Repeatable.",
    ),
]
Old = Annotated[list[str] | None, typer.Option(*_OLD, hidden=True, callback=_name_new_option)]
MinArea = Annotated[int, typer.Option(min=1, help="Leave out objects with fewer pixels than this.")]
MaxFaulty = Annotated[
    float, typer.Option(min=0, max=1, help="Fraction of faulty photos above which to stop.")
]
AnyIds = Annotated[
    bool,
    typer.Option(
        "--any-ids", help="Accept instance ids that are not numbered from 1 in each photo."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]


def pack(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create; it must not exist.")],
    data: Data = None,
    long_side: Annotated[
        int,
        typer.Option(
            min=64,
            max=8192,
            help="Scale larger photos down to this length of their longer side (pixels).",
        ),
    ] = 480,
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Quality of JPEG files that are encoded again.")
    ] = 90,
    min_area: MinArea = 400,
    shard_mib: Annotated[
        float, typer.Option(min=0.01, help="Maximum size of a shard (MiB).")
    ] = 256.0,
    max_faulty: MaxFaulty = 0.1,
    any_ids: AnyIds = False,
    workers: Annotated[int, typer.Option(min=0, help="Number of threads; 0 for one per core.")] = 0,
    seed: Seed = 0,
    old: Old = None,
) -> None:
    """Pack data sets into tar shards (WebDataset naming) with a manifest, for training.

    A WEIGHT says how often photos of a data set are drawn in training. The same input and options
    give the same bytes.

    Example: clickcut train pack --data voc:VOC2012:train --data coco:coco:train2017@2 -o packed
    """
    require("scipy", "urllib3")
    from clickcut_train.data.manifest import PackOptions
    from clickcut_train.data.pack import pack as make

    config = _config(data, min_area, max_faulty, any_ids)
    options = PackOptions(
        long_side=long_side, quality=quality, min_area=min_area, shard_mib=shard_mib, seed=seed
    )
    with _Bar("Packing") as bar:
        manifest, reports = make(config, out, options, bar.show, workers or available_cpus())
    for report in reports:
        print(report)
    print(
        f"{out}: {manifest.photos} photos, {manifest.objects} objects, {len(manifest.shards)} "
        f"shards, {manifest.bytes / 2**20:.1f} MiB"
    )


def preview(
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write: PNG or JPEG.")],
    data: Data = None,
    recipe: Annotated[
        Literal["paper", "mixed"],
        typer.Option(
            help="paper: a row for each of the paper's strategies; mixed: samples as the default "
            "model is trained on.",
        ),
    ] = "paper",
    count: Annotated[
        int, typer.Option(min=1, max=100, help="Objects (paper) or samples (mixed) to show.")
    ] = 2,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of a crop (pixels).")] = 320,
    min_area: MinArea = 400,
    max_faulty: MaxFaulty = 0.1,
    any_ids: AnyIds = False,
    seed: Seed = 0,
    old: Old = None,
) -> None:
    """Draw a sheet of training samples: image with clicks, both guidance maps, target.

    Only a random sample of each data set is read; another --seed reads another one.

    Example: clickcut train preview --data voc:VOC2012:train -o sheet.png
    """
    require("scipy", "urllib3")
    from clickcut_train.data.open import open_sources
    from clickcut_train.preview import DISCS, sample_sheet, strategy_sheet
    from clickcut_train.sample_options import SampleOptions

    config = _config(data, min_area, max_faulty, any_ids)
    source, reports = open_sources(config, _PREVIEWED, seed)
    for report in reports:
        print(report)
    if recipe == "paper":
        straight = SampleOptions.paper().model_copy(update={"flip": False})
        sheet = strategy_sheet(source, straight, count, size, seed)
    else:
        sheet = sample_sheet(source, SampleOptions.mixed(), DISCS, count, size, seed)
    _write(out, sheet)
    print(out)


def _config(given: list[str] | None, min_area: int, max_faulty: float, any_ids: bool) -> DataConfig:
    from clickcut_train.data.config import DataConfig, parse_source
    from clickcut_train.errors import DataError

    if not given:
        raise DataError(f"name at least one data set: --data {FORM}")
    sources = tuple(map(parse_source, given))
    return DataConfig(sources=sources, min_area=min_area, max_faulty=max_faulty, any_ids=any_ids)


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    import cv2

    from clickcut_train.errors import DataError

    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"{path}: name a .png or .jpg file")
    _, encoded = cv2.imencode(suffix, pixels[:, :, ::-1])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


class _Bar:
    """A progress bar on the terminal, with photos, bytes and time left."""

    def __init__(self, what: str) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("photos, {task.fields[mib]:.0f} MiB"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(what, total=None, mib=0.0)

    def __enter__(self) -> _Bar:
        return self  # the bar appears with the first photo: what is wrong before needs none

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int, total: int, size: int) -> None:
        self._progress.start()
        self._progress.update(self._task, completed=done, total=total, mib=size / 2**20)
