"""Folders of photographs and masks: GrabCut, Berkeley, COCO pairs, DAVIS, clothing parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from clickcut_eval.datasets.davis import davis_frames
from clickcut_eval.datasets.faults import Faults
from clickcut_eval.datasets.labels import read_grey
from clickcut_eval.datasets.listing import PHOTOGRAPHS, first_folder, masks_of, visible
from clickcut_eval.errors import DatasetError
from clickcut_eval.targets import GroundTruth, Target

LABELS = (".png", ".bmp", ".gif")
"""Endings of masks."""

MIN_PART = 400
"""Garments with fewer pixels (bracelets, belts seen edge-on) are left out."""


def above(path: Path, threshold: int) -> GroundTruth:
    """A mask: grey values above `threshold` are object."""
    mask = read_grey(path) > threshold
    return GroundTruth(mask, np.zeros_like(mask))


def with_band(path: Path) -> GroundTruth:
    """GrabCut's masks: 255 = object, 128 = ignore."""
    grey = read_grey(path)
    return GroundTruth(grey == 255, grey == 128)


def label_is(path: Path, label: int) -> GroundTruth:
    """One label of a label image."""
    mask = read_grey(path) == label
    return GroundTruth(mask, np.zeros_like(mask))


def _paired(images: Path, masks: Path, root: Path, letters: str = "") -> list[tuple[Path, Path]]:
    """(photograph, mask) by name; a mask may have a letter more than its photograph.

    Raises:
        DatasetError: no photographs; or lists photographs without mask, masks without photograph,
            files that cannot be read and sizes that differ.
    """
    photographs = visible(images, PHOTOGRAPHS)
    if not photographs:
        raise DatasetError(f"{root}: there are no photographs in {images}")

    def heads(stem: str) -> Iterator[str]:
        yield stem
        if stem[-1] in letters:
            yield stem[:-1]

    found, strays = masks_of({p.stem for p in photographs}, visible(masks, LABELS), heads)
    faults = Faults(root)
    pairs = []
    for image in photographs:
        own = found.get(image.stem, [])
        if not own:
            faults.add(f"no mask for {image.name}")
        for mask in own:
            faults.compare_sizes(image, mask)
            pairs.append((image, mask))
    for mask in strays:
        faults.add(f"no photograph for the mask {mask.name}")
    faults.stop()
    return pairs


def grabcut(root: Path, splits: Sequence[str] = ()) -> list[Target]:
    """GrabCut: `images/` and `masks/`, or `data_GT/` and `boundary_GT/`; 255 object, 128 ignore."""
    images, masks = (
        first_folder(root, "images", "data_GT"),
        first_folder(root, "masks", "boundary_GT"),
    )
    return [
        Target(mask.stem, image, "", partial(with_band, mask))
        for image, mask in _paired(images, masks, root)
    ]


def berkeley(root: Path, splits: Sequence[str] = ()) -> list[Target]:
    """Berkeley: `images/`, `masks/NAME.png` or `NAMEa.png`, `NAMEb.png`, ...; object above 127."""
    pairs = _paired(first_folder(root, "images"), first_folder(root, "masks"), root, "abcdef")
    return [Target(mask.stem, image, "", partial(above, mask, 127)) for image, mask in pairs]


def coco_pairs(root: Path, splits: Sequence[str] = ()) -> list[Target]:
    """Objects of COCO: `images/CLASSnn_ID.jpg`, `masks/CLASSnn_ID.png`; object above 127."""
    return [
        Target(mask.stem, image, re.sub(r"\d*(_.*)?$", "", mask.stem), partial(above, mask, 127))
        for image, mask in _paired(first_folder(root, "images"), first_folder(root, "masks"), root)
    ]


def davis(root: Path, splits: Sequence[str] = (), every: int = 10) -> list[Target]:
    """DAVIS frames; everything that is not background is one object, as the field measures it.

    Args:
        root: with `img/` and `gt/` (the selection of 345 frames), or videos; see `davis_frames`.
        splits: of videos; all sequences if none is named.
        every: frame 0, `every`, 2 `every`, ... of each video is taken.

    Raises:
        DatasetError: see `davis_frames`; or lists frames that are missing or do not fit.
    """
    if (root / "img").is_dir():
        if splits:
            raise DatasetError(f"{root}: a selection of frames in img/ and gt/ has no splits")
        pairs = _paired(root / "img", first_folder(root, "gt"), root)
        return [Target(mask.stem, image, "", partial(above, mask, 0)) for image, mask in pairs]
    faults = Faults(root)
    sequences: dict[str, list[Target]] = {}
    annotated: dict[Path, set[str]] = {}
    for frame in davis_frames(root, splits):
        faults.compare_sizes(frame.image, frame.mask)
        target = Target(frame.name, frame.image, frame.sequence, partial(above, frame.mask, 0))
        sequences.setdefault(frame.sequence, []).append(target)
        annotated.setdefault(frame.image.parent, set()).add(frame.image.name)
    for images, names in annotated.items():
        for image in visible(images, (".jpg",)) if images.is_dir() else []:
            if image.name not in names and not splits:
                faults.add(f"no mask for {images.name}/{image.name}")
    faults.stop()
    if not sequences:
        raise DatasetError(f"{root}: there are no sequences in it")
    return [target for frames in sequences.values() for target in frames[::every]]


def clothing(root: Path, splits: Sequence[str] = ()) -> list[Target]:
    """Clothing parts: `images/`, `labels/` with indices into `labels.txt`; each garment an object.

    Skin, hair and label 0 are no garments; parts of fewer than `MIN_PART` pixels are left out.
    """
    path = root / "labels.txt"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; it names the labels, one a line")
    names = path.read_text().split()
    targets = []
    for image, labels in _paired(first_folder(root, "images"), first_folder(root, "labels"), root):
        idents, areas = np.unique(read_grey(labels), return_counts=True)
        for ident, area in zip(idents.tolist(), areas.tolist(), strict=True):
            if ident >= len(names):
                raise DatasetError(f"{labels}: label {ident} is not in {path.name}")
            if ident and names[ident] not in ("skin", "hair") and area >= MIN_PART:
                name = f"{labels.stem}_{names[ident]}"
                targets.append(Target(name, image, names[ident], partial(label_is, labels, ident)))
    return targets
