"""Folders of photographs and masks: GrabCut, Berkeley, COCO pairs, DAVIS, clothing parts."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from clickcut_eval.datasets.files import LABELS, PHOTOGRAPHS, Faults, folder, listing, read_labels
from clickcut_eval.errors import DatasetError
from clickcut_eval.targets import Target, Truth

MIN_PART = 400
"""Garments with fewer pixels (bracelets, belts seen edge-on) are left out."""


def above(path: Path, threshold: int) -> Truth:
    """A mask: grey values above `threshold` are object."""
    mask = read_labels(path) > threshold
    return Truth(mask, np.zeros_like(mask))


def with_band(path: Path) -> Truth:
    """GrabCut's masks: 255 = object, 128 = ignore."""
    grey = read_labels(path)
    return Truth(grey == 255, grey == 128)


def label_is(path: Path, label: int) -> Truth:
    """One label of a label image."""
    mask = read_labels(path) == label
    return Truth(mask, np.zeros_like(mask))


def _paired(images: Path, masks: Path, root: Path, letters: str = "") -> list[tuple[Path, Path]]:
    """(photograph, mask) by name; a mask may have a letter more than its photograph.

    Raises:
        DatasetError: no photographs; or lists photographs without mask, masks without photograph,
            files that cannot be read and sizes that differ.
    """
    photographs, found = listing(images, PHOTOGRAPHS), listing(masks, LABELS)
    if not photographs:
        raise DatasetError(f"{root}: there are no photographs in {images}")
    faults = Faults(root)
    pairs = []
    for name, image in photographs.items():
        own = [found.pop(f"{name}{s}") for s in ("", *letters) if f"{name}{s}" in found]
        if not own:
            faults.add(f"no mask for {image.name}")
        for mask in own:
            faults.compare_sizes(image, mask)
            pairs.append((image, mask))
    for mask in found.values():
        faults.add(f"no photograph for the mask {mask.name}")
    faults.stop()
    return pairs


def grabcut(root: Path) -> list[Target]:
    """GrabCut: `images/` and `masks/`, or `data_GT/` and `boundary_GT/`; 255 object, 128 ignore."""
    images, masks = folder(root, "images", "data_GT"), folder(root, "masks", "boundary_GT")
    return [
        Target(mask.stem, image, "", partial(with_band, mask))
        for image, mask in _paired(images, masks, root)
    ]


def berkeley(root: Path) -> list[Target]:
    """Berkeley: `images/`, `masks/NAME.png` or `NAMEa.png`, `NAMEb.png`, ...; object above 127."""
    pairs = _paired(folder(root, "images"), folder(root, "masks"), root, "abcdef")
    return [Target(mask.stem, image, "", partial(above, mask, 127)) for image, mask in pairs]


def coco_pairs(root: Path) -> list[Target]:
    """Objects of COCO: `images/CLASSnn_ID.jpg`, `masks/CLASSnn_ID.png`; object above 127."""
    return [
        Target(mask.stem, image, re.sub(r"\d*(_.*)?$", "", mask.stem), partial(above, mask, 127))
        for image, mask in _paired(folder(root, "images"), folder(root, "masks"), root)
    ]


def davis(root: Path, every: int = 10) -> list[Target]:
    """DAVIS frames; everything that is not background is one object, as the field measures it.

    Args:
        root: with `img/` and `gt/` (the selection of 345 frames), or the video layout
            `JPEGImages/480p/SEQUENCE/` and `Annotations/480p/SEQUENCE/`.
        every: of the video layout every so-maniest frame of a sequence is taken.
    """
    if (root / "img").is_dir():
        pairs = _paired(root / "img", folder(root, "gt"), root)
        return [Target(mask.stem, image, "", partial(above, mask, 0)) for image, mask in pairs]
    images = folder(root, "JPEGImages/480p", "JPEGImages/Full-Resolution")
    masks = folder(root, f"Annotations/{images.name}")
    targets: list[Target] = []
    for sequence in sorted(p.name for p in images.iterdir() if p.is_dir()):
        frames = _paired(images / sequence, folder(masks, sequence), images / sequence)
        targets += [
            Target(f"{sequence}/{mask.stem}", image, sequence, partial(above, mask, 0))
            for image, mask in frames[::every]
        ]
    if not targets:
        raise DatasetError(f"{root}: there are no sequences in {images}")
    return targets


def clothing(root: Path) -> list[Target]:
    """Clothing parts: `images/`, `labels/` with indices into `labels.txt`; each garment an object.

    Skin, hair and label 0 are no garments; parts of fewer than `MIN_PART` pixels are left out.
    """
    path = root / "labels.txt"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; it names the labels, one a line")
    names = path.read_text().split()
    targets = []
    for image, labels in _paired(folder(root, "images"), folder(root, "labels"), root):
        idents, areas = np.unique(read_labels(labels), return_counts=True)
        for ident, area in zip(idents.tolist(), areas.tolist(), strict=True):
            if ident >= len(names):
                raise DatasetError(f"{labels}: label {ident} is not in {path.name}")
            if ident and names[ident] not in ("skin", "hair") and area >= MIN_PART:
                name = f"{labels.stem}_{names[ident]}"
                targets.append(Target(name, image, names[ident], partial(label_is, labels, ident)))
    return targets
