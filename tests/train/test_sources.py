"""Readers of data sets: what is read, what is left out and said so, what stops."""

from __future__ import annotations

import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import trees
from PIL import Image
from pycocotools import mask as coco_mask
from pydantic import ValidationError
from scipy.io import savemat

from clickcut_eval.errors import DatasetError
from clickcut_train.data.config import DataConfig, SourceConfig, parse_source
from clickcut_train.data.open import list_entries, open_sources
from clickcut_train.data.source import share_of_several


def read(kind, path, splits=(), **options):
    source = SourceConfig(kind=kind, path=str(path), splits=splits)
    photos, (report,) = open_sources(DataConfig(sources=(source,), **options))
    return [photos.photo(i) for i in range(len(photos))], report


def both(k, void=True):
    values = trees.ids(k)
    return np.stack([values == 1, values == 2]), (values == 255) if void else None


def assert_as_drawn(photos, void=True):
    for k, photo in enumerate(photos):
        masks, unsure = both(k, void)
        np.testing.assert_array_equal(photo.masks(), masks)
        if void:
            np.testing.assert_array_equal(photo.void_mask(), unsure)
        else:
            assert photo.void is None
        assert np.abs(photo.image().astype(int) - trees.picture(k)).mean() < 12


def test_voc(tmp_path):
    trees.voc(tmp_path)
    photos, report = read("voc", tmp_path, ("train",))
    assert_as_drawn(photos)
    assert (report.photos, report.objects, report.faulty) == (4, 8, [])


def test_sbd(tmp_path):
    trees.sbd(tmp_path)
    for root in (tmp_path, tmp_path / "dataset"):
        photos, _ = read("sbd", root, ("train",))
        assert len(photos) == 3
        assert_as_drawn(photos, void=False)


def test_davis_2017_has_ids(tmp_path):
    trees.davis(tmp_path)
    photos, _ = read("davis", tmp_path, ("train",))
    assert [p.name for p in photos] == ["bear/00000", "bear/00001", "bear/00002"]
    assert_as_drawn(photos, void=False)


def test_davis_2016_is_binary_and_255_is_the_object(tmp_path):
    trees.davis(tmp_path, binary=True)
    photos, _ = read("davis", tmp_path, ("train",))
    assert len(photos) == 3
    masks, _ = both(0)
    np.testing.assert_array_equal(photos[0].masks(), masks.any(0)[None])


def test_folder_with_ids_and_binary_masks(tmp_path):
    trees.folder(tmp_path)
    for k, name in ((0, "q"), (1, "q_r")):  # q_r_1.png belongs to q_r, not to q
        trees.write(tmp_path / "images" / f"{name}.png", trees.jpeg(k))
        masks, unsure = both(k)
        for n, mask in enumerate(masks):
            values = np.where(mask, 255, np.where(unsure, 128, 0)).astype(np.uint8)
            trees.write_map(tmp_path / "masks" / f"{name}_{n}.png", values, palette=False)
    photos, report = read("folder", tmp_path)
    assert_as_drawn(photos[:3])
    assert_as_drawn(photos[3:])
    assert report.photos == 5


def test_folder_with_sixteen_bit_ids(tmp_path):
    trees.folder(tmp_path, count=1)
    values = trees.ids().astype(np.uint16)
    values[values == 255] = 0
    values[values == 2] = 3
    Image.fromarray(values).save(tmp_path / "masks/p0.png")
    (photo,), _ = read("folder", tmp_path)
    np.testing.assert_array_equal(photo.masks(), both(0)[0])


def test_coco_polygons_run_lengths_and_crowds(tmp_path):
    ring = np.zeros(trees.SHAPE, np.uint8)
    ring[10:70, 10:70] = 1
    ring[30:50, 30:50] = 0
    runs = np.flatnonzero(np.diff(ring.ravel(order="F"), prepend=0)).tolist()
    plain = np.diff([0, *runs, ring.size]).tolist()
    compressed = coco_mask.encode(np.asfortranarray(ring))
    compressed["counts"] = compressed["counts"].decode()
    trees.coco(
        tmp_path,
        [
            {"segmentation": [trees.square(20, 20, 60, 60), trees.square(90, 20, 120, 60)]},
            {"segmentation": {"size": [*trees.SHAPE], "counts": plain}},
            {"segmentation": compressed},
            {
                "segmentation": {
                    "size": [*trees.SHAPE],
                    "counts": [0, ring.size // 2, ring.size // 2],
                },
                "iscrowd": 1,
            },
        ],
    )
    (photo,), report = read("coco", tmp_path)
    masks = photo.masks()
    assert len(masks) == 3
    assert masks[0].sum() == pytest.approx(40 * 40 + 30 * 40, rel=0.05)
    np.testing.assert_array_equal(masks[1], ring)
    np.testing.assert_array_equal(masks[2], ring)
    crowd = np.zeros(trees.SHAPE, bool)
    crowd[:, : trees.SHAPE[1] // 2] = True
    np.testing.assert_array_equal(photo.void_mask(), crowd & ~masks.any(0))
    assert not report.dropped


def test_coco_in_its_own_layout(tmp_path):
    trees.coco(tmp_path / "flat", [{"segmentation": [trees.square(20, 20, 60, 60)]}])
    (tmp_path / "annotations").mkdir()
    os.rename(tmp_path / "flat/instances.json", tmp_path / "annotations/instances_train2017.json")
    os.rename(tmp_path / "flat/images", tmp_path / "train2017")
    photos, _ = read("coco", tmp_path, ("train2017",))
    assert len(photos) == 1
    with pytest.raises(DatasetError, match="coco:FOLDER:train2017"):
        read("coco", tmp_path)
    with pytest.raises(DatasetError, match="there are the splits train2017"):
        read("coco", tmp_path, ("val",))


# ---- what is left out


def test_faulty_photos_are_skipped_counted_and_listed(tmp_path):
    names = trees.voc(tmp_path, 12)
    objects, images = tmp_path / "SegmentationObject", tmp_path / "JPEGImages"
    (objects / f"{names[0]}.png").unlink()
    trees.write_map(objects / f"{names[1]}.png", np.ones((50, 60), np.uint8))
    trees.write(images / f"{names[2]}.jpg", trees.jpeg()[:900])
    trees.write(images / f"{names[3]}.jpg", b"not a picture")
    trees.write(objects / f"{names[4]}.png", (objects / f"{names[5]}.png").read_bytes()[:60])
    Image.fromarray(trees.picture()).save(objects / f"{names[6]}.png")
    photos, report = read("voc", tmp_path, ("train",), max_faulty=0.6)
    assert [p.name for p in photos] == [names[5], *names[7:]]
    reasons = dict(report.faulty)
    assert list(reasons) == [*names[:5], names[6]]
    assert "cannot be read" in reasons[names[0]]
    assert reasons[names[1]] == "the mask is 60 x 50 pixels, the image 128 x 96"
    assert "truncated or damaged" in reasons[names[2]]
    assert "not an image" in reasons[names[3]]
    assert "damaged" in reasons[names[4]]
    assert "RGB picture" in reasons[names[6]]
    assert "6 faulty photos" in str(report)
    assert all(name in str(report) for name in reasons)


def test_too_many_faults_stop(tmp_path):
    names = trees.voc(tmp_path, 12)
    for name in names[:2]:
        (tmp_path / "SegmentationObject" / f"{name}.png").unlink()
    with pytest.raises(DatasetError, match="2 of 12 photos are faulty, more than 10%"):
        read("voc", tmp_path, ("train",))
    photos, report = read("voc", tmp_path, ("train",), max_faulty=0.2)
    assert (len(photos), len(report.faulty)) == (10, 2)


def test_small_objects_and_photos_without_one_are_counted(tmp_path):
    trees.voc(tmp_path, 2)
    tiny = np.zeros(trees.SHAPE, np.uint8)
    tiny[5:9, 5:9] = 1
    trees.write_map(tmp_path / "SegmentationObject/2007_000000.png", tiny)
    photos, report = read("voc", tmp_path, ("train",))
    assert len(photos) == 1
    assert (report.small, report.without_object) == (1, 1)
    assert len(read("voc", tmp_path, ("train",), min_area=16)[0]) == 2


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([], "neither polygons nor run lengths"),
        ([[1.0, 2.0, 30.0, 40.0]], "three corners"),
        ([[1.0, 2.0, float("nan"), 4.0, 5.0, 6.0]], "not numbers"),
        ([trees.square(10, 10, 1e9, 40)], "far outside"),
        ([trees.square(10, 10, 10, 10)], "an instance without pixels"),
        ({"size": [96, 128], "counts": [5, 6]}, "do not add up"),
        ({"size": [96, 128], "counts": [-5, 96 * 128 + 5]}, "do not add up"),
        ({"size": [96, 127], "counts": [0, 96 * 127]}, "are of size"),
        ({"size": [96, 128], "counts": "0000000"}, "damaged"),
        ({"size": [96, 128], "counts": "é"}, "damaged"),
        ({"size": [96, 128]}, "no counts"),
    ],
)
def test_faulty_coco_objects_are_listed_and_the_photo_stays(tmp_path, segmentation, reason):
    good = {"segmentation": [trees.square(20, 20, 60, 60)]}
    trees.coco(tmp_path, [{"segmentation": segmentation}, good])
    (photo,), report = read("coco", tmp_path)
    assert len(photo.rles) == 1
    ((name, said),) = report.dropped
    assert name == "c0.jpg"
    assert reason in said


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height": 10**9}, "at most"),
        ({"width": "wide"}, "height and width"),
        ({"file_name": "../../secret.jpg"}, "not a name inside"),
        ({"file_name": None}, "not a name inside"),
        ({"file_name": "none.jpg"}, "cannot be read"),
    ],
)
def test_faulty_coco_images_are_skipped(tmp_path, change, reason):
    trees.coco(tmp_path, [{"segmentation": [trees.square(20, 20, 60, 60)]}], count=3)
    document = json.loads((tmp_path / "instances.json").read_text())
    document["images"][0].update(change)
    (tmp_path / "instances.json").write_text(json.dumps(document))
    photos, report = read("coco", tmp_path)
    assert len(photos) == 2
    assert reason in report.faulty[0][1]


def test_coco_annotations_of_unknown_images_are_named(tmp_path):
    square = {"segmentation": [trees.square(20, 20, 60, 60)]}
    trees.coco(tmp_path, [square, square | {"image_id": 77}, square | {"image_id": 77}], count=3)
    photos, report = read("coco", tmp_path)
    assert [len(p.rles) for p in photos] == [1, 1, 1]
    assert report.faulty == [
        ("image_id 77", "no such image is listed; annotations of it: 1, 2"),
    ]


@pytest.mark.parametrize("option", ["QUALITY", "OPTIMIZE", "PROGRESSIVE"])
def test_a_jpeg_with_a_hole_is_skipped_and_an_even_one_is_not(tmp_path, option):
    trees.folder(tmp_path, 4)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    if option != "QUALITY":
        options += [getattr(cv2, f"IMWRITE_JPEG_{option}"), 1]

    def save(name, pixels, hole=0):
        data = bytearray(cv2.imencode(".jpg", pixels, options)[1].tobytes())
        middle = len(data) * 3 // 4
        data[middle : middle + hole] = bytes(hole)
        (tmp_path / "images" / name).write_bytes(data)

    save("p0.jpg", trees.picture(0))
    save("p1.jpg", trees.picture(1), hole=400)
    save("p2.jpg", np.full((*trees.SHAPE, 3), 255, np.uint8))
    photos, report = read("folder", tmp_path)
    assert len(photos) == 3
    assert [name for name, _ in report.faulty] == ["p1.jpg"]
    assert "a hole of zero bytes" in report.faulty[0][1]


def test_masks_without_a_photo_are_named(tmp_path):
    trees.folder(tmp_path, 3)
    trees.write_map(tmp_path / "masks/z.png", trees.ids(), palette=False)
    photos, report = read("folder", tmp_path)
    assert len(photos) == 3
    assert report.faulty == [("masks/z.png", "there is no photo that it belongs to")]


@pytest.mark.parametrize("file", ["masks/p0.png", "images/p0.jpg"])
def test_a_picture_of_absurd_size_is_refused_from_its_header(tmp_path, file):
    trees.folder(tmp_path, 3)

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 400_000, 400_000, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    trees.write(tmp_path / file, b"\x89PNG\r\n\x1a\n" + header + body)
    photos, report = read("folder", tmp_path)
    assert len(photos) == 2
    assert "400000 x 400000 pixels" in report.faulty[0][1]


def test_a_mat_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    trees.sbd(tmp_path)
    packed = zlib.compress(bytes(80 * 2**20), 9)
    bomb = b" " * 124 + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed
    trees.write(tmp_path / "dataset/inst/2008_000000.mat", bomb)
    photos, report = read("sbd", tmp_path, ("train",))
    assert len(photos) == 2
    assert "unpacks to more than" in report.faulty[0][1]


def test_an_image_that_its_exif_data_turn_does_not_match_its_mask(tmp_path):
    trees.folder(tmp_path, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(trees.picture()).save(tmp_path / "images/p0.jpg", exif=exif)
    _, report = read("folder", tmp_path)
    assert "store it upright" in report.faulty[0][1]


# ---- class maps given for instance maps, wrong folders


def test_class_maps_in_place_of_instance_maps_stop(tmp_path):
    names = trees.voc(tmp_path, 3)
    for name in names:
        path = tmp_path / "SegmentationObject" / f"{name}.png"
        values = np.asarray(Image.open(path)).copy()
        values[values == 1], values[values == 2] = 15, 7
        trees.write_map(path, values)
    with pytest.raises(DatasetError, match="as a map of classes has"):
        read("voc", tmp_path, ("train",))
    assert len(read("voc", tmp_path, ("train",), any_ids=True)[0]) == 3


def test_sbd_class_files_in_place_of_instance_files_are_faults(tmp_path):
    trees.sbd(tmp_path)
    segmentation = {"Segmentation": np.ones(trees.SHAPE, np.uint8)}
    savemat(tmp_path / "dataset/inst/2008_000000.mat", {"GTcls": segmentation})
    trees.write(tmp_path / "dataset/inst/2008_000001.mat", b"junk")
    _, report = read("sbd", tmp_path, ("train",), max_faulty=0.7)
    assert "a class map (GTcls)" in report.faulty[0][1]
    assert "not a MATLAB file" in report.faulty[1][1]


def test_a_grey_picture_is_no_mask(tmp_path):
    trees.folder(tmp_path, 3)
    blurred = cv2.GaussianBlur(((trees.ids() == 1) * 255).astype(np.uint8), (0, 0), 5)
    trees.write_map(tmp_path / "masks/p1.png", blurred, palette=False)
    _, report = read("folder", tmp_path)
    assert "threshold it" in report.faulty[0][1]


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        read("voc", tmp_path / "nowhere", ("train",))
    (tmp_path / "SegmentationClass").mkdir()
    with pytest.raises(DatasetError, match="class maps only"):
        read("voc", tmp_path, ("train",))
    with pytest.raises(DatasetError, match="images and masks"):
        read("folder", tmp_path)
    with pytest.raises(DatasetError, match="no folder inst"):
        read("sbd", tmp_path, ("train",))
    trees.voc(tmp_path / "voc", 1)
    with pytest.raises(DatasetError, match="there are: train"):
        read("voc", tmp_path / "voc", ("vall",))
    trees.write(tmp_path / "instances.json", '{"images": 3}')
    with pytest.raises(DatasetError, match="not COCO instances"):
        read("coco", tmp_path)
    with pytest.raises(DatasetError, match="at least one source"):
        open_sources(DataConfig())


def test_a_random_sample_of_a_data_set(tmp_path):
    names = trees.voc(tmp_path, 12)
    config = DataConfig(sources=(parse_source(f"voc:{tmp_path}:train"),))
    picked = []
    for seed in (0, 0, 1):
        photos, (report,) = open_sources(config, 5, seed)
        assert (len(photos), report.total) == (5, 5)
        picked.append([photos.photo(i).name for i in range(5)])
    assert picked[0] == picked[1] != picked[2]
    assert set(picked[2]) < set(names)


def test_photos_with_several_objects_can_be_drawn_more_often(tmp_path):
    two = [
        {"segmentation": [trees.square(8, 8, 30, 40)]},
        {"segmentation": [trees.square(40, 8, 90, 60)]},
    ]
    trees.coco(tmp_path, two, count=4)
    coco = (parse_source(f"coco:{tmp_path}"),)
    assert share_of_several(open_sources(DataConfig(sources=coco))[0]) == 0.25
    source, _ = open_sources(DataConfig(sources=coco, several=0.5))
    np.testing.assert_allclose(source.weights, [2, 2 / 3, 2 / 3, 2 / 3])


# ---- how sources are written


def test_sources_as_the_command_line_gives_them():
    assert parse_source("voc:a/b:train,extra@2.5") == SourceConfig(
        kind="voc", path="a/b", splits=("train", "extra"), weight=2.5
    )
    assert parse_source("coco:a/b") == SourceConfig(kind="coco", path="a/b")
    assert parse_source("shards:http://host:80/x/manifest.json").path.endswith("manifest.json")
    assert parse_source("shards:packed@3").weight == 3
    assert parse_source("davis:d:2016/train").splits == ("2016/train",)


@pytest.mark.parametrize("kind", ["voc", "sbd", "davis"])
def test_a_split_is_never_taken_by_itself(kind):
    with pytest.raises(DatasetError, match="say which splits"):
        parse_source(f"{kind}:a/b")


@pytest.mark.parametrize("text", ["a@-1", "a@x"])
def test_wrong_weights_are_errors(text):
    with pytest.raises(DatasetError, match="coco:a@"):
        parse_source(f"coco:{text}")


def test_a_configuration_takes_the_spelling_of_the_command_line():
    config = DataConfig.model_validate(
        {"sources": ["voc:a:train@2", {"kind": "folder", "path": "b"}]}
    )
    assert [str(s) for s in config.sources] == ["voc:a:train", "folder:b"]
    assert config.sources[0].weight == 2
    with pytest.raises(ValidationError, match="names no data set"):
        DataConfig.model_validate({"sources": ["a/b"]})


def test_a_held_out_share_is_the_same_photos_for_every_reader_and_never_trained_on(tmp_path):
    trees.folder(tmp_path / "few", 12)
    trees.folder(tmp_path / "many", 40)

    def names(folder, **options):
        return {e.name for e in list_entries(SourceConfig(kind="folder", path=folder, **options))}

    every = names(str(tmp_path / "many"))
    kept = names(str(tmp_path / "many"), hold_out=0.5)
    held = names(str(tmp_path / "many"), hold_out=0.5, held_out=True)
    assert kept | held == every
    assert not kept & held
    assert 10 < len(held) < 30
    few = names(str(tmp_path / "few"), hold_out=0.5, held_out=True)
    assert few == held & names(str(tmp_path / "few"))  # whatever else a set holds
    with pytest.raises(ValidationError, match="held_out needs hold_out"):
        SourceConfig(kind="folder", path="x", held_out=True)
    with pytest.raises(ValidationError, match="before they are packed"):
        SourceConfig(kind="shards", path="x", hold_out=0.5)
