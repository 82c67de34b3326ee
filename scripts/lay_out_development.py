"""Lay out the development set: objects by which cut, regions, views and baselines were set.

    python scripts/lay_out_development.py --duts DUTS_TE --voc VOC --coco COCO_MIX -o development

Writes a data set of kind `folder`. Its objects are drawn from the held-out half of DUTS test, VOC
train and COCO training photographs. Those of COCO are the first that fit of 600 in the order of
their classes' names, so they are of 24 of the 80 classes; the choices were made on these, so the
draw stays as it is.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import open_dataset
from clickcut_eval.datasets.folder import IGNORE
from clickcut_eval.targets import Target
from clickcut_train.data.open import is_held_out

SEED = 7
SMALL = 0.01
"""Share of its photograph below which an object is small."""
SMALL_SHARE = 0.3
"""Of the objects of COCO."""
MIN_AREA = 50
LOOKED_AT = 600
"""Objects of COCO among which small and other ones are looked for."""


def main() -> None:
    """Write the data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duts", type=Path, required=True, help="kind folder: DUTS test")
    parser.add_argument("--voc", type=Path, required=True, help="kind voc: its split train")
    parser.add_argument("--coco", type=Path, required=True, help="kind coco: training photographs")
    parser.add_argument("--objects", type=int, nargs=3, default=[120, 100, 100], metavar="N")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty; choose another folder")
    generator = np.random.default_rng(SEED)
    duts, voc, coco = options.objects
    wanted = sum(options.objects)
    held_out = [
        t
        for t in open_dataset(DataSpec("folder", str(options.duts)))[1]
        if is_held_out(t.image.name, 0.5)
    ]
    write(options.out, "duts", draw(held_out, duts, generator))
    train = open_dataset(DataSpec("voc", str(options.voc), ("train",)))[1]
    write(options.out, "voc", draw(train, voc, generator))
    some = draw(open_dataset(DataSpec("coco", str(options.coco)))[1], LOOKED_AT, generator)
    write(options.out, "coco", with_small(some, coco))
    wrote = len(list((options.out / "masks").iterdir()))
    print(f"{options.out}: {wrote} objects" + (f", not {wanted}" if wrote < wanted else ""))


def draw(targets: Sequence[Target], count: int, generator: np.random.Generator) -> list[Target]:
    """`count` of the targets, in their order."""
    return [targets[i] for i in sorted(generator.permutation(len(targets))[:count])]


def with_small(targets: Sequence[Target], count: int) -> list[Target]:
    """The first `count` of the targets of which `SMALL_SHARE` are small."""
    wanted = {True: round(count * SMALL_SHARE), False: count - round(count * SMALL_SHARE)}
    found: list[Target] = []
    for target in targets:
        truth = target.ground_truth()
        area = np.count_nonzero(truth.mask & ~truth.ignore)
        small = bool(area < SMALL * truth.mask.size)
        if area >= MIN_AREA and wanted[small] > 0:
            wanted[small] -= 1
            found.append(target)
    return found


def write(out: Path, source: str, targets: Sequence[Target]) -> None:
    """Copy photographs to OUT/images and write a mask for each object to OUT/masks."""
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for k, target in enumerate(targets):
        image = out / "images" / f"{source}-{target.image.name}"
        shutil.copyfile(target.image, image)
        truth = target.ground_truth()
        mask = np.where(truth.ignore, np.uint8(IGNORE), np.uint8(255) * truth.mask)
        cv2.imwrite(str(out / "masks" / f"{image.stem}_{k}.png"), mask)


if __name__ == "__main__":
    main()
