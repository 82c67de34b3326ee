"""A folder of `images/` and `masks/`: `NAME.png`, or `NAME_*.png` with an object each."""

from __future__ import annotations

import re
from pathlib import Path

from pycocotools import mask as coco_mask

from clickcut_eval.datasets.entry import Annotated, Entry, FaultyPhotoError, read_bytes
from clickcut_eval.datasets.id_map import VOID, ids_in, instances_of, read_id_map
from clickcut_eval.datasets.rle import Rle, encode_mask
from clickcut_train.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
IGNORE = 128
"""Value of pixels to ignore in a binary mask, as in the GrabCut set."""

_MOST_VALUES = 100
"""A map with more values than this is a grey picture, such as an anti-aliased mask."""


def folder_entries(root: Path) -> list[Entry]:
    """The photos of `root/images` with their masks of `root/masks`.

    A mask is binary (0 and 255, or 0 and 1; 128 is ignored) or holds instance ids (255 is void). A
    photo has one, `NAME.png`, or several, `NAME_*.png`; objects of different files may overlap.

    Raises:
        DataError: the folders or images are missing.
    """
    if not (root / "images").is_dir() or not (root / "masks").is_dir():
        raise DataError(f"{root}: expected the folders images and masks in it")
    images = sorted(p for p in (root / "images").iterdir() if p.suffix.lower() in IMAGES)
    if not images:
        raise DataError(f"{root / 'images'}: no images ({', '.join(IMAGES)})")
    masks = _masks_of({p.stem for p in images}, sorted((root / "masks").glob("*.png")))

    def entry(image: Path) -> Entry:
        def read() -> Annotated:
            encoded = read_bytes(image)
            if image.stem not in masks:
                raise FaultyPhotoError(
                    f"no mask: expected masks/{image.stem}.png or masks/{image.stem}_*.png"
                )
            return _merge(encoded, masks[image.stem])

        return Entry(image.name, read)

    return [entry(image) for image in images]


def _masks_of(names: set[str], paths: list[Path]) -> dict[str, list[Path]]:
    """Mask files by image; `a_b_1.png` belongs to `a_b` where there is such an image, else `a`."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        stem = path.stem
        heads = [stem, *(stem[: m.start()] for m in reversed(list(re.finditer("_", stem))))]
        owner = next((head for head in heads if head in names), None)
        if owner is not None:
            found.setdefault(owner, []).append(path)
    return found


def _merge(encoded: bytes, paths: list[Path]) -> Annotated:
    rles: list[Rle] = []
    voids: list[Rle] = []
    ids: list[int] = []
    dropped: list[str] = []
    for path in paths:
        found, void, numbers = _instances(path)
        rles += found
        voids += [void] if void else []
        ids += numbers
        if not found:
            dropped.append(f"the mask {path.name} has no object pixel")
    if len({tuple(r["size"]) for r in (*rles, *voids)}) > 1:
        raise FaultyPhotoError(f"its masks differ in size: {', '.join(p.name for p in paths)}")
    return Annotated(encoded, tuple(rles), _union(voids), tuple(ids) or None, tuple(dropped))


def _union(voids: list[Rle]) -> Rle | None:
    return coco_mask.merge(voids) if voids else None


def _instances(path: Path) -> tuple[tuple[Rle, ...], Rle | None, tuple[int, ...]]:
    """Instances, void pixels and ids (none of a binary mask) of a mask file."""
    values = read_id_map(path)
    different = set(ids_in(values))
    if len(different) > _MOST_VALUES:
        raise FaultyPhotoError(
            f"the mask {path.name} has {len(different)} different values, as a grey picture has; "
            "threshold it to 0 and 255, or store ids"
        )
    if VOID in different and different <= {0, IGNORE, VOID}:
        unsure = values == IGNORE
        return (encode_mask(values == VOID),), encode_mask(unsure) if unsure.any() else None, ()
    return instances_of(values)
