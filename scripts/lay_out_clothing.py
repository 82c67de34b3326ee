"""Turn Clothing Co-Parsing into COCO instances for training: each garment of a photo is an object.

    python scripts/lay_out_clothing.py clothing-co-parsing data/clothing --without clothing_parts

The first folder is a clone of github.com/bearpaw/clothing-co-parsing. `--without` names a folder of
photographs that are kept for measurements: those of the same names are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from clickcut_eval.datasets.rle import encode_mask

NO_GARMENT = {"null", "skin", "hair"}
LONG_SIDE = 480
"""Of the photographs that are written, pixels."""
MIN_AREA = 100
"""Garments with fewer pixels of the written photograph are left out."""
JPEG_QUALITY = 92


def main() -> None:
    """Write the data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--without", type=Path, help="folder of photographs to leave out")
    options = parser.parse_args()
    left_out: set[str] = set()
    if options.without:
        left_out = {p.stem for p in options.without.rglob("*") if p.is_file()}
        if not left_out:
            parser.error(f"--without {options.without}: no such folder, or there is no file in it")
        print(
            f"photographs named as one of {len(left_out)} files in {options.without} are left out"
        )
    lay_out(options.clone, options.out, left_out)


def lay_out(clone: Path, out: Path, left_out: set[str]) -> None:
    """Write OUT/images and OUT/instances.json; prints what was written.

    Raises:
        SystemExit: it is no clone, or has no photograph with a label map.
    """
    if not (clone / "label_list.mat").is_file():
        raise SystemExit(f"{clone}: not a clone of the data set: it has no label_list.mat")
    names = [str(n[0]) for n in loadmat(clone / "label_list.mat")["label_list"][0]]
    (out / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path in sorted((clone / "annotations" / "pixel-level").glob("*.mat")):
        photo = cv2.imread(str(clone / "photos" / f"{path.stem}.jpg"))
        labels = loadmat(path)["groundtruth"]
        if path.stem in left_out or photo is None or photo.shape[:2] != labels.shape:
            continue
        scale = LONG_SIDE / max(labels.shape)
        size = round(labels.shape[1] * scale), round(labels.shape[0] * scale)
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        file = f"{path.stem}.jpg"
        cv2.imwrite(str(out / "images" / file), photo, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        number = len(images) + 1
        images.append({"id": number, "file_name": file, "width": size[0], "height": size[1]})
        for garment in garments(labels, names):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **garment})
    if not images:
        raise SystemExit(f"{clone}: no photograph with a label map of its size")
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(names)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (out / "instances.json").write_text(json.dumps(document))
    print(f"{out}: {len(images)} photographs, {len(annotations)} garments")


def garments(labels: NDArray[Any], names: list[str]) -> Iterator[dict[str, Any]]:
    """The garments of a label map, (H, W) integers into `names`, as annotations without ids."""
    for label in np.unique(labels):
        mask = labels == label
        if names[label] in NO_GARMENT or np.count_nonzero(mask) < MIN_AREA:
            continue
        rle = encode_mask(mask)
        yield {
            "category_id": int(label) + 1,
            "iscrowd": 0,
            "area": int(np.count_nonzero(mask)),
            "bbox": list(cv2.boundingRect(mask.astype(np.uint8))),
            "segmentation": rle | {"counts": rle["counts"].decode()},
        }


if __name__ == "__main__":
    main()
