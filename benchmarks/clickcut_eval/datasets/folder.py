"""A folder of `images/` and `masks/`: `NAME.png`, or `NAME_*.png` with an object each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from clickcut_eval.datasets.entry import Annotated, Entry, FaultyPhotoError, stray
from clickcut_eval.datasets.labels import VOID, ids_in, instances_of, read_id_map
from clickcut_eval.datasets.listing import PHOTOGRAPHS, masks_of, visible
from clickcut_eval.datasets.rle import Rle, encode_mask
from clickcut_eval.errors import DatasetError

IGNORE = 128
"""Value of pixels to ignore in a binary mask, as in the GrabCut set."""

_MAX_VALUES = 100
"""A map with more values than this is a grey picture, such as an anti-aliased mask."""


def folder_entries(root: Path) -> list[Entry]:
    """The photos of `root/images` with their masks of `root/masks`.

    A mask is binary (0 and 255, or 0 and 1; 128 is ignored) or holds instance ids (255 is void). A
    photo has one, `NAME.png`, or several, `NAME_*.png`; objects of different files may overlap.
    `a_b_1.png` belongs to `a_b` where there is such a photo, else to `a`; masks that belong to none
    are faulty entries at the end.

    Raises:
        DatasetError: the folders or images are missing.
    """
    if not (root / "images").is_dir() or not (root / "masks").is_dir():
        raise DatasetError(f"{root}: expected the folders images and masks in it")
    images = visible(root / "images", PHOTOGRAPHS)
    if not images:
        raise DatasetError(f"{root / 'images'}: no images ({', '.join(PHOTOGRAPHS)})")
    masks, strays = masks_of({p.stem for p in images}, visible(root / "masks", (".png",)), _heads)
    entries = [
        Entry(image.name, image, partial(_read, image.stem, masks.get(image.stem, [])))
        for image in images
    ]
    return entries + [
        stray(f"masks/{mask.name}", "there is no photo that it belongs to") for mask in strays
    ]


def _heads(stem: str) -> Iterator[str]:
    """The photos that a mask may belong to, the one with the longest name first."""
    yield stem
    for underscore in reversed(list(re.finditer("_", stem))):
        yield stem[: underscore.start()]


def _read(name: str, masks: list[Path]) -> Annotated:
    if not masks:
        raise FaultyPhotoError(f"no mask: expected masks/{name}.png or masks/{name}_*.png")
    rles: list[Rle] = []
    voids: list[Rle] = []
    ids: list[int] = []
    dropped: list[str] = []
    sizes = set()
    for path in masks:
        values = read_id_map(path)
        sizes.add(values.shape)
        found, void, numbers = _instances(values, path.name)
        rles += found
        voids += [void] if void else []
        ids += numbers
        if not found:
            dropped.append(f"the mask {path.name} has no object pixel")
    if len(sizes) > 1:
        raise FaultyPhotoError(f"its masks differ in size: {', '.join(p.name for p in masks)}")
    void = coco_mask.merge(voids) if voids else None
    ((height, width),) = sizes
    return Annotated((height, width), tuple(rles), void, tuple(ids) or None, (), tuple(dropped))


def _instances(
    values: NDArray[np.uint16], name: str
) -> tuple[tuple[Rle, ...], Rle | None, tuple[int, ...]]:
    """Instances, void pixels and ids (none of a binary mask) of a mask file."""
    different = set(ids_in(values))
    if len(different) > _MAX_VALUES:
        raise FaultyPhotoError(
            f"the mask {name} has {len(different)} different values, as a grey picture has; "
            "threshold it to 0 and 255, or store ids"
        )
    if VOID in different and different <= {0, IGNORE, VOID}:
        unsure = values == IGNORE
        return (encode_mask(values == VOID),), encode_mask(unsure) if unsure.any() else None, ()
    return instances_of(values)
