"""Formats: what is written comes back, by the format's own reader; every offender is named."""

from __future__ import annotations

import io
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from clickcut_formats import (
    FORMATS,
    FormatError,
    LabelledImage,
    LabelledObject,
    brush_rle,
    coco,
    cvat,
    encode,
    label_studio,
    labelme,
    read,
    write,
)

Mask = NDArray[np.bool_]


def blobs(seed: int, width: int = 70, height: int = 50) -> Mask:
    """A mask of several parts, with holes and corners that touch."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), 2.5)
    return np.asarray(noise > np.median(noise), np.bool_)


def disc(x: int, y: int, radius: int, width: int = 70, height: int = 50) -> Mask:
    canvas = np.zeros((height, width), np.uint8)
    cv2.circle(canvas, (x, y), radius, 1, -1)
    return canvas.astype(np.bool_)


def sample(*masks: Mask, name: str = "a/photo.jpg") -> LabelledImage:
    height, width = masks[0].shape
    objects = [LabelledObject.of(f"kind {n % 2}", mask) for n, mask in enumerate(masks)]
    return LabelledImage(name, width, height, objects)


def saved(tmp_path: Path, format_name: str, image: LabelledImage, suffix: str) -> Path:
    paths = write(encode(format_name, [image]).files, tmp_path)
    return next(path for path in paths if path.suffix == suffix)


def same(found: LabelledImage, expected: LabelledImage) -> None:
    assert (found.width, found.height) == (expected.width, expected.height)
    assert [o.label for o in found.objects] == [o.label for o in expected.objects]
    for one, other in zip(found.objects, expected.objects, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


# ---- there and back


@pytest.mark.parametrize(
    ("format_name", "suffix"),
    [
        ("coco", ".json"),
        ("label-studio", ".json"),
        ("cvat", ".xml"),
        ("geojson", ".geojson"),
        ("labelme", ".json"),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_masks_come_back_exactly(tmp_path: Path, format_name: str, suffix: str, seed: int) -> None:
    image = sample(blobs(seed), disc(20, 20, 9), blobs(seed + 100))
    [found] = read(saved(tmp_path, format_name, image, suffix))
    same(found, image)


@pytest.mark.parametrize("seed", range(6))
def test_polygons_without_holes_are_exact_for_pycocotools(tmp_path: Path, seed: int) -> None:
    mask = cv2.morphologyEx(blobs(seed).view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3)))
    filled = np.zeros_like(mask)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, -1)
    image = sample(filled.astype(np.bool_))
    encoded = encode("coco-polygons", [image])
    path = write(encoded.files, tmp_path)[0]
    dataset = COCO(str(path))
    [annotation] = dataset.loadAnns(dataset.getAnnIds())
    np.testing.assert_array_equal(dataset.annToMask(annotation), filled)
    assert not encoded.notes


def test_run_lengths_for_pycocotools(tmp_path: Path) -> None:
    masks = [blobs(1), disc(30, 20, 8)]
    dataset = COCO(str(saved(tmp_path, "coco", sample(*masks), ".json")))
    for annotation, mask in zip(dataset.loadAnns(dataset.getAnnIds()), masks, strict=True):
        np.testing.assert_array_equal(dataset.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        y, x = np.nonzero(mask)
        assert annotation["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


def test_png_files(tmp_path: Path) -> None:
    image = sample(disc(20, 20, 9), disc(24, 20, 9))
    paths = write(encode("png", [image]).files, tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in paths] == [
        "a/photo_mask_1.png",
        "a/photo_mask_2.png",
    ]
    for path, item in zip(paths, image.objects, strict=True):
        np.testing.assert_array_equal(np.array(Image.open(path)) == 255, item.mask)
    encoded = encode("png-indexed", [image])
    assert "overlap" in encoded.notes[0]
    [found] = read(write(encoded.files, tmp_path)[0])
    second = image.objects[1].mask
    np.testing.assert_array_equal(found.objects[1].mask, second)
    np.testing.assert_array_equal(found.objects[0].mask, image.objects[0].mask & ~second)


def test_yolo_keeps_parts_and_says_which_holes_are_lost(tmp_path: Path) -> None:
    ring = disc(20, 25, 15) & ~disc(20, 25, 7)
    both = ring | disc(55, 25, 8)
    encoded = encode("yolo", [sample(both, disc(10, 10, 5))])
    assert encoded.notes == ["a/photo.jpg, kind 0: 1 hole is lost, a polygon of YOLO has none"]
    lines = encoded.files["labels/a/photo.txt"].decode().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1"]
    points = np.array(lines[0].split()[1:], float).reshape(-1, 2) * (70, 50) - 0.5
    canvas = np.zeros((50, 70), np.uint8)
    # As Ultralytics fills it: one polygon, in fixed point so that half pixels count.
    cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    filled = both | disc(20, 25, 15)
    shape = np.ones((3, 3))
    assert not (cv2.erode(filled.view(np.uint8), shape).astype(bool) & ~canvas.astype(bool)).any()
    outside = canvas.astype(bool) & ~cv2.dilate(filled.view(np.uint8), shape).astype(bool)
    assert outside.sum() <= 20  # the bridge between the parts is one pixel wide when drawn
    assert '0: "kind 0"' in encoded.files["data.yaml"].decode()


def test_tolerance_makes_polygons_lighter() -> None:
    image = sample(disc(30, 25, 20))
    sizes = [len(encode("coco-polygons", [image], t).files[coco.FILE]) for t in (0.0, 1.0)]
    assert sizes[1] < sizes[0] / 2


def test_empty_objects_are_left_out_and_named() -> None:
    image = sample(disc(30, 25, 20), np.zeros((50, 70), np.bool_))
    for name in FORMATS:
        encoded = encode(name, [image])
        assert encoded.notes == ["a/photo.jpg, object 2 (kind 1): empty, left out"], name


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_brush_rle_comes_back(seed: int, width: int, height: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = bytes(brush_rle.encode(mask))
    np.testing.assert_array_equal(brush_rle.decode(rle, height, width), mask)


def test_brush_rle_against_label_studio() -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    for mask in (blobs(3), np.ones((300, 400), np.bool_), np.zeros((1, 1), np.bool_)):
        pixels = brush.decode_rle(brush_rle.encode(mask)).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(pixels, np.repeat(mask[..., None] * 255, 4, axis=2))
        theirs = bytes(brush.mask2rle(mask.astype(np.uint8) * 255))
        np.testing.assert_array_equal(brush_rle.decode(theirs, *mask.shape), mask)


def test_cvat_points_against_its_sdk() -> None:
    sdk = pytest.importorskip("cvat_sdk.masks")
    for mask in (blobs(3), disc(20, 20, 9), np.zeros((5, 7), np.bool_), np.ones((5, 7), np.bool_)):
        assert cvat.mask_points(LabelledObject.of("x", mask)) == sdk.encode_mask(mask)


def test_label_studio_polygons_as_a_format(tmp_path: Path) -> None:
    plain = sample(disc(20, 20, 9), disc(50, 30, 6))
    [found] = read(saved(tmp_path, "label-studio-polygons", plain, ".json"))
    same(found, plain)
    ring = disc(20, 20, 9) & ~disc(20, 20, 4)
    encoded = encode("label-studio-polygons", [sample(ring)])
    [note] = encoded.notes
    assert "1 hole is filled" in note
    smooth = [len(encode("label-studio-polygons", [plain], t).files["tasks.json"]) for t in (0, 1)]
    assert smooth[1] < smooth[0] / 2


def test_label_studio_polygons_come_back() -> None:
    item = LabelledObject.of("cat", disc(20, 20, 9) | disc(50, 30, 6))
    regions = label_studio.polygon_regions(item, "r", 0.0)
    assert [region["id"] for region in regions] == ["r", "r-1"]
    task = {"data": {"image": "x.png"}, "annotations": [{"result": regions}]}
    [found] = label_studio.parse([task], "test")
    np.testing.assert_array_equal(found.objects[0].mask | found.objects[1].mask, item.mask)


# ---- repair


def test_repair_of_coco_leaves_the_rest(tmp_path: Path) -> None:
    path = saved(tmp_path, "coco-polygons", sample(disc(20, 20, 9), disc(50, 30, 6)), ".json")
    document = json.loads(path.read_bytes())
    document["info"] = {"year": 2020}
    document["annotations"][0]["score"] = 0.5
    new = LabelledObject.of("x", disc(22, 22, 9))
    after = json.loads(coco.repaired(document, {0: new}))
    assert after["info"] == {"year": 2020}
    assert after["annotations"][1] == document["annotations"][1]
    assert after["annotations"][0]["score"] == 0.5
    assert isinstance(after["annotations"][0]["segmentation"], list)
    np.testing.assert_array_equal(coco.parse(after, "x")[0].objects[0].mask, new.mask)
    holed = LabelledObject.of("x", disc(22, 22, 9) & ~disc(22, 22, 3))
    after = json.loads(coco.repaired(document, {0: holed}))
    np.testing.assert_array_equal(coco.parse(after, "x")[0].objects[0].mask, holed.mask)


def test_repair_of_labelme_leaves_the_rest(tmp_path: Path) -> None:
    two = disc(20, 20, 9) | disc(50, 30, 6)
    path = saved(tmp_path, "labelme", sample(two, disc(40, 10, 5)), ".json")
    document = json.loads(path.read_bytes())
    document["shapes"].insert(0, {"label": "p", "points": [[1, 1]], "shape_type": "point"})
    document["shapes"][1]["description"] = "mine"
    [image] = labelme.parse(document, "x")
    assert [item.id for item in image.objects] == [1, 3]
    new = LabelledObject.of("x", disc(22, 22, 9) & ~disc(22, 22, 3))
    after = json.loads(labelme.repaired(document, {1: new}))
    assert after["shapes"][0] == document["shapes"][0]
    assert after["shapes"][1]["description"] == "mine"
    [found] = labelme.parse(after, "x")
    assert [item.label for item in found.objects] == ["kind 0", "kind 1"]
    np.testing.assert_array_equal(found.objects[0].mask, new.mask)
    np.testing.assert_array_equal(found.objects[1].mask, disc(40, 10, 5))


# ---- bad input


def coco_document(**changes: Any) -> dict[str, Any]:
    square = [[2.0, 2.0, 8.0, 2.0, 8.0, 8.0]]
    annotation = {"id": 7, "image_id": 1, "category_id": 1, "segmentation": square}
    return {
        "images": [{"id": 1, "file_name": "x.jpg", "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [annotation],
    } | changes


def with_shapes(*shapes: Any) -> dict[str, Any]:
    return coco_document(
        annotations=[
            {"id": n, "image_id": 1, "category_id": 1, "segmentation": shape}
            for n, shape in enumerate(shapes)
        ]
    )


def test_every_offender_is_named() -> None:
    document = with_shapes(
        [[1, 1, 5, 5]],
        [[1, 1, 5, 1, 5, 5]],
        {"size": [5, 5], "counts": "abc"},
        [[1, 1, 5, 1, float("nan"), 5]],
        [[1, 1, 5, 1, 500, 5]],
        {"size": [10, 20], "counts": [7, 3]},
        None,
    )
    document["annotations"].append({"id": 1, "image_id": 9, "category_id": 8})
    with pytest.raises(FormatError) as raised:
        coco.parse(document, "some.json")
    assert raised.value.faults == [
        "annotations[0] (id 0): a polygon has 2 points, and an area needs 3",
        "annotations[2] (id 2): its RLE has size [5, 5], the image [10, 20]",
        "annotations[3] (id 3): a polygon is not a list of finite numbers",
        "annotations[4] (id 4): point (500, 5) lies outside the image of 20 x 10",
        "annotations[5] (id 5): its RLE's runs do not cover 20 x 10 pixels",
        "annotations[6] (id 6): has no segmentation",
        "annotations[7] (id 1): this id occurs twice",
        "annotations[7] (id 1): there is no image with id 9",
        "annotations[7] (id 1): there is no category with id 8",
    ]
    assert str(raised.value).startswith("some.json: 9 faults\n  annotations[0]")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (coco_document(images=None), "images: is not a list"),
        (coco_document(images=[7]), "images[0]: is not an object"),
        (coco_document(images=[{"id": 1, "file_name": "x", "width": 10**6, "height": 10**6}]),
         "is not an image size"),
        (coco_document(images=[{"id": {}, "file_name": "x"}]), "has no id"),
        (coco_document(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "twice"),
        (with_shapes({"size": [10, 20], "counts": "\U0001f600"}), "annotations[0] (id 0)"),
        (with_shapes({"size": [10, 20], "counts": [10**30]}), "runs do not cover"),
        ([1, 2], "JSON object"),
    ],
)  # fmt: skip
def test_broken_coco(document: Any, words: str) -> None:
    with pytest.raises(FormatError) as raised:
        coco.parse(document, "some.json")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"{", "line 1, column 2: not JSON"),
        ("a.json", b"\xff\xfe{}", "not "),
        ("a.json", b"[" * 100_000, "not usable JSON"),
        ("a.json", b"{}", "neither COCO"),
        ("a.xml", b"<annotations>", "not XML"),
        ("a.xml", b"<!DOCTYPE x><annotations/>", "document type"),
        ("a.xml", b"<x/>", "its root is <x>"),
        ("a.png", b"no", "not a PNG"),
        ("missing.json", None, "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError) as raised:
        read(tmp_path / name)
    assert words in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)


CVAT = '<annotations><image id="0" name="x" width="20" height="10">{}</image></annotations>'


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<mask label="a" left="18" top="0" width="4" height="2" rle="8"/>', "its box"),
        ('<mask label="a" left="0" top="0" width="4" height="2" rle="7"/>', "do not cover"),
        ('<mask label="a" left="0" top="0" width="4" height="2" rle="1,x"/>', "list of numbers"),
        ('<mask left="0" top="0" width="4" height="2" rle="0,8"/>', "no label"),
        ('<polygon label="a" points="1,1;2,2"/>', "2 points"),
        ('<polygon label="a" points="1,1;2,2;inf,3"/>', "finite"),
        ('<polygon label="a" points="1,1;2"/>', "lacks its y"),
    ],
)
def test_broken_cvat(tmp_path: Path, shape: str, words: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(CVAT.format(shape))
    with pytest.raises(FormatError, match="shape 0") as raised:
        read(path)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"label": "a", "points": [[1, 1], [2, 2]]}, "2 points"),
        ({"points": [[1, 1], [2, 2], [3, 1]]}, "no label"),
        ({"label": "a", "points": [[1, 1], [2]]}, "list of [x, y]"),
        ({"label": "a", "points": [[1, 1], [9, 9]], "shape_type": "mask", "mask": "?"}, "PNG"),
        ({"label": "a", "points": [[1, 1], [99, 9]], "shape_type": "mask", "mask": ""}, "box"),
        ({"label": "a", "points": [[1, 1]], "shape_type": "rectangle"}, "has 2 points"),
    ],
)
def test_broken_labelme(shape: dict[str, Any], words: str) -> None:
    document = {"imagePath": "x.png", "imageWidth": 20, "imageHeight": 10, "shapes": [shape]}
    with pytest.raises(FormatError, match="shapes") as raised:
        labelme.parse(document, "a.json")
    assert words in str(raised.value)


@pytest.mark.parametrize("cut", [0, 3, 9, 12])
def test_brush_rle_that_is_cut_off(cut: int) -> None:
    rle = brush_rle.encode(blobs(2))[:cut]
    task = {
        "data": {"image": "x.png"},
        "annotations": [
            {
                "result": [
                    {
                        "id": "r",
                        "type": "brushlabels",
                        "original_width": 70,
                        "original_height": 50,
                        "value": {"format": "rle", "rle": rle, "brushlabels": ["a"]},
                    }
                ]
            }
        ],
    }
    with pytest.raises(FormatError, match=r"tasks\[0\], result\[0\] \(id r\): its RLE is cut off"):
        label_studio.parse([task], "a.json")


def test_masks_of_another_size_and_names_that_collide() -> None:
    small = LabelledObject.of("cat", np.ones((3, 4), np.bool_))
    damaged = LabelledObject("dog", b"zz", 10, 20)
    images = [
        LabelledImage("a.jpg", 20, 10, [small, damaged]),
        LabelledImage("a.png", 20, 10, []),
    ]
    with pytest.raises(FormatError) as raised:
        encode("coco", images)
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "a.jpg",
        "a.jpg, object 1 (cat)",
        "a.jpg, object 2 (dog)",
        "a.png",
    ]
    with pytest.raises(FormatError, match="no such format; there are png"):
        encode("psd", [])
    with pytest.raises(FormatError, match="tolerance"):
        encode("coco", [], float("nan"))


# ---- writing


@pytest.mark.slow
def test_the_code_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    photo = resources.files("clickcut") / "assets" / "astronaut.jpg"
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/formats.md", "exec"), {})
    assert (tmp_path / "annotations" / "annotations.json").is_file()


def test_existing_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(FormatError, match="exists already"):
        write({"a": b"1", "b": b"2"}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_bytes() == b"old"
    write({"a": b"1", "b": b"2"}, tmp_path, overwrite=True)
    assert (tmp_path / "b").read_bytes() == b"2"


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == "c":
            raise OSError(28, "No space left on device", str(target))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(FormatError, match=r"c: cannot be written \(No space left"):
        write({"a": b"1", "b": b"2", "c": b"3"}, tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["../x", "/x", "", "a\\b", "a/../../x"])
def test_names_stay_below_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="not a name below"):
        write({name: b""}, tmp_path)


def test_a_palette_png_shows_colours() -> None:
    data = encode("png-indexed", [sample(disc(20, 20, 9))]).files["a/photo_objects.png"]
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.convert("RGB").getpixel((20, 20)) == (128, 0, 0)
