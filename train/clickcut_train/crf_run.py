"""`clickcut train crf`: learn, measure on what was left out, write the weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.progress import track

from clickcut.whole_file import whole_file
from clickcut_eval.methods.dense_crf import DenseCrf
from clickcut_eval.methods.segmenter import Segmenter
from clickcut_train.crf import MeanField, labelled, learn, mean_iou, read
from clickcut_train.errors import ConfigError


def check_writable(output: Path) -> None:
    """Say before the learning what would keep its result from being written.

    Raises:
        ConfigError: it is a folder, or its folder is missing or cannot be written to.
    """
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; give a file as --out")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written ({error.strerror}); give another --out"
        ) from error


def learn_and_measure(
    voc: Path, split: str, segmenter: Segmenter, output: Path, steps: int, every: int
) -> None:
    """Learn the CRF, print mean IoUs without it, before and after, and write its weights.

    Args:
        voc: a PASCAL VOC tree.
        split: to learn from.
        segmenter: below the CRF.
        output: JSON file, replaced.
        steps: photographs, drawn with replacement.
        every: one photograph of so many is measured on instead of learned from.

    Raises:
        DataError: a photograph or class map cannot be used, or there are too few.
    """
    pairs = labelled(voc, split)
    photographs = [read(pair) for pair in track(pairs, "reading")]
    held_out = photographs[::every]
    used = [photo for i, photo in enumerate(photographs) if i % every]
    field = MeanField()
    losses = list(track(learn(field, segmenter, used, steps), "learning", total=steps))
    print(f"cross-entropy, mean of the first and of the last quarter: {_quarters(losses)}")
    crf = field.crf()
    with whole_file(output) as file:
        file.write(crf.weights_json().encode())
    print(f"mean IoU of {len(held_out)} photographs that were left out:")
    for name, method in (("segmenter", None), ("hand-set", DenseCrf()), ("learned", crf)):
        print(f"  {name:<10} {100 * mean_iou(held_out, segmenter, method):.1f} %", flush=True)
    print(output)


def _quarters(losses: list[float]) -> str:
    count = max(1, len(losses) // 4)
    first, last = losses[:count], losses[-count:]
    return f"{sum(first) / count:.3f}, {sum(last) / count:.3f}"
