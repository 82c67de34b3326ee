"""Small data sets on disk in the layouts that the readers know, made of shapes."""

from __future__ import annotations

import json

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

SHAPE = (96, 128)


def ids(seed=0):
    """Two objects, void pixels between them: (96, 128) uint8."""
    out = np.zeros(SHAPE, np.uint8)
    cv2.circle(out, (32 + seed % 5, 44), 24, 1, -1)
    cv2.rectangle(out, (72, 20 + seed % 7), (116, 76), 2, -1)
    out[40:46, 58:70] = 255
    return out


def picture(seed=0):
    """A colour for each object on a noisy ground: (96, 128, 3) uint8, RGB."""
    rng = np.random.default_rng(seed)
    out = rng.integers(90, 130, (*SHAPE, 3), np.uint8)
    for number, colour in ((1, (220, 60, 40)), (2, (40, 90, 210))):
        out[ids(seed) == number] = colour
    return out


def jpeg(seed=0):
    return cv2.imencode(".jpg", picture(seed)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[
        1
    ].tobytes()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data) if isinstance(data, bytes) else path.write_text(data)
    return path


def write_map(path, values, palette=True):
    """A PNG of ids, with a palette as VOC and DAVIS have it or in grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(values))
    if palette:
        image = image.convert("P")
        image.putpalette([(i * 37 + c * 91) % 256 for i in range(256) for c in range(3)])
        image.frombytes(np.ascontiguousarray(values, np.uint8).tobytes())
    image.save(path)
    return path


def voc(root, count=4, split="train"):
    names = [f"2007_{k:06d}" for k in range(count)]
    for k, name in enumerate(names):
        write(root / "JPEGImages" / f"{name}.jpg", jpeg(k))
        write_map(root / "SegmentationObject" / f"{name}.png", ids(k))
    write(root / f"ImageSets/Segmentation/{split}.txt", "\n".join(names) + "\n")
    return names


def sbd(root, count=3):
    names = [f"2008_{k:06d}" for k in range(count)]
    for k, name in enumerate(names):
        values = np.where(ids(k) == 255, 0, ids(k)).astype(np.uint8)
        write(root / "dataset/img" / f"{name}.jpg", jpeg(k))
        (root / "dataset/inst").mkdir(parents=True, exist_ok=True)
        inst = {"Segmentation": values, "Categories": np.array([[15], [3]], np.uint8)}
        savemat(root / "dataset/inst" / f"{name}.mat", {"GTinst": inst}, do_compression=True)
    write(root / "dataset/train.txt", "\n".join(names))
    return names


def davis(root, binary=False, count=3):
    for k in range(count):
        values = np.where(ids(k) == 255, 0, ids(k)).astype(np.uint8)
        if binary:
            values = np.where(values > 0, 255, 0).astype(np.uint8)
        write(root / "JPEGImages/480p/bear" / f"{k:05d}.jpg", jpeg(k))
        write_map(root / "Annotations/480p/bear" / f"{k:05d}.png", values)
    if binary:
        lines = [
            f"/JPEGImages/480p/bear/{k:05d}.jpg /Annotations/480p/bear/{k:05d}.png"
            for k in range(count)
        ]
        write(root / "ImageSets/480p/train.txt", "\n".join(lines))
    else:
        write(root / "ImageSets/2017/train.txt", "bear\n")


def folder(root, count=3):
    for k in range(count):
        write(root / "images" / f"p{k}.jpg", jpeg(k))
        write_map(root / "masks" / f"p{k}.png", ids(k), palette=False)


def square(x0, y0, x1, y1):
    """Corners of a rectangle as a COCO polygon."""
    return [float(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]


def coco(root, annotations, count=1):
    """`annotations`: dicts for the first photo, without ids; the others have one square each."""
    height, width = SHAPE
    images = [
        {"id": k, "file_name": f"c{k}.jpg", "width": width, "height": height} for k in range(count)
    ]
    listed = [{"image_id": 0, "iscrowd": 0, **a} for a in annotations]
    listed += [
        {"image_id": k, "iscrowd": 0, "segmentation": [square(8, 8, 60, 80)]}
        for k in range(1, count)
    ]
    for k in range(count):
        write(root / "images" / f"c{k}.jpg", jpeg(k))
    document = {"images": images, "annotations": [{"id": n, **a} for n, a in enumerate(listed)]}
    write(root / "instances.json", json.dumps(document))
