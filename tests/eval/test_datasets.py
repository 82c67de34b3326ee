"""Every adapter on small files in the format that people have."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest
from eval_cases import save
from PIL import Image
from pycocotools import mask as coder
from scipy.io import savemat

from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import DATASETS, open_dataset
from clickcut_eval.datasets.pairs import davis
from clickcut_eval.errors import DatasetError

HEIGHT, WIDTH = 20, 30
BLANK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def box(y0, y1, x0, x1, value=255):
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    grey[y0:y1, x0:x1] = value
    return grey


def palette_png(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette([k * 7 % 256 for k in range(768)])
    image.save(path)


def masks_of(targets):
    return {
        t.name: (int(t.ground_truth().mask.sum()), int(t.ground_truth().ignore.sum()))
        for t in targets
    }


def test_grabcut_has_an_ignore_band(tmp_path):
    save(tmp_path / "images/a.jpg", BLANK)
    save(tmp_path / "masks/a.png", box(5, 10, 5, 10) + box(10, 12, 5, 10, 128))
    (only,) = DATASETS["grabcut"].read(tmp_path)
    assert masks_of([only]) == {"a": (25, 10)}
    assert only.pixels().shape == BLANK.shape


def test_grabcut_in_its_first_layout(tmp_path):
    save(tmp_path / "data_GT/a.bmp", BLANK)
    save(tmp_path / "boundary_GT/a.bmp", box(5, 10, 5, 10))
    assert masks_of(DATASETS["grabcut"].read(tmp_path)) == {"a": (25, 0)}


def test_berkeley_has_several_objects_on_a_photograph(tmp_path):
    save(tmp_path / "images/a.jpg", BLANK)
    save(tmp_path / "images/b.jpg", BLANK)
    save(tmp_path / "masks/aa.png", box(0, 2, 0, 2))
    save(tmp_path / "masks/ab.png", np.repeat(box(0, 3, 0, 3)[..., None], 3, 2))
    save(tmp_path / "masks/b.png", box(0, 4, 0, 4, 128))
    found = masks_of(DATASETS["berkeley"].read(tmp_path))
    assert found == {"aa": (4, 0), "ab": (9, 0), "b": (16, 0)}


def test_coco_pairs_have_their_class_in_the_name(tmp_path):
    for name in ("dining table00_000000173091", "cat01_000000000001"):
        save(tmp_path / f"images/{name}.jpg", BLANK)
        save(tmp_path / f"masks/{name}.png", box(0, 2, 0, 2))
    assert [t.category for t in DATASETS["coco_mval_dev"].read(tmp_path)] == ["cat", "dining table"]


def test_voc_gives_instances_with_void_ignored(tmp_path):
    ids = box(0, 4, 0, 4, 1) + box(6, 9, 6, 9, 2) + box(10, 12, 0, 10, 255)
    save(tmp_path / "JPEGImages/p.jpg", BLANK)
    palette_png(tmp_path / "SegmentationObject/p.png", ids)
    palette_png(tmp_path / "SegmentationClass/p.png", box(0, 4, 0, 4, 15) + box(6, 9, 6, 9, 8))
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("p\n")
    targets = DATASETS["voc"].read(tmp_path)
    assert masks_of(targets) == {"p_1": (16, 20), "p_2": (9, 20)}
    assert [t.category for t in targets] == ["person", "cat"]


@pytest.mark.parametrize("prefix", ["", "dataset/"])
def test_sbd_reads_matlab_files(tmp_path, prefix):
    root = tmp_path / prefix
    save(root / "img/2008_000002.jpg", BLANK)
    (root / "inst").mkdir()
    ids = box(0, 4, 0, 4, 1) + box(6, 9, 6, 9, 2)
    structure = {"Segmentation": ids, "Categories": np.array([[20], [15]], np.uint8)}
    savemat(root / "inst/2008_000002.mat", {"GTinst": structure})
    (root / "val.txt").write_text("2008_000002\n")
    targets = DATASETS["sbd"].read(tmp_path)
    assert masks_of(targets) == {"2008_000002_1": (16, 0), "2008_000002_2": (9, 0)}
    assert [t.category for t in targets] == ["tvmonitor", "person"]
    (root / "inst/2008_000002.mat").write_bytes(b"MATLAB 5.0 MAT-file, damaged")
    with pytest.raises(DatasetError, match="not a MATLAB file"):
        DATASETS["sbd"].read(tmp_path)


def coco_file(tmp_path, annotations):
    document = {
        "images": [{"id": 1, "file_name": "p.jpg", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "person"}, {"id": 70, "name": "toilet"}],
        "annotations": [
            {"id": k, "image_id": 1, "iscrowd": 0, "category_id": 1} | a
            for k, a in enumerate(annotations, 1)
        ],
    }
    save(tmp_path / "val2017/p.jpg", BLANK)
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(document))


def test_coco_instances(tmp_path):
    polygon = [[2, 2, 12, 2, 12, 8, 2, 8]]
    compressed = coder.encode(np.asfortranarray(box(0, 5, 0, 4, 1)))
    compressed["counts"] = compressed["counts"].decode()
    runs = {"size": [HEIGHT, WIDTH], "counts": [0, 3, HEIGHT * WIDTH - 3]}
    crowd = {"segmentation": runs, "iscrowd": 1}
    coco_file(
        tmp_path,
        [
            {"segmentation": polygon},
            {"segmentation": compressed, "category_id": 70},
            crowd,
            {"segmentation": runs},
        ],
    )
    targets = DATASETS["coco"].read(tmp_path)
    assert masks_of(targets) == {"person_1": (60, 0), "person_4": (3, 0), "toilet_2": (20, 0)}
    assert [t.category for t in targets] == ["person", "person", "toilet"]


def test_coco_draws_the_same_objects_of_each_class_every_time(tmp_path):
    coco_file(tmp_path, [{"segmentation": [[0, 0, 5, 0, 5, 5]]}] * 30)
    first, second = (DATASETS["coco"].read(tmp_path) for _ in range(2))
    assert len(first) == 10
    assert [t.name for t in first] == [t.name for t in second]
    assert [t.name for t in first] != [f"person_{k}" for k in range(1, 11)]


def test_coco_files_that_are_not(tmp_path):
    coco_file(tmp_path, [])
    with pytest.raises(DatasetError, match="no objects"):
        DATASETS["coco"].read(tmp_path)
    (tmp_path / "annotations/instances_val2017.json").write_text('{"images": []}')
    with pytest.raises(DatasetError, match="not COCO instances"):
        DATASETS["coco"].read(tmp_path)
    (tmp_path / "annotations/instances_b.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"instances_b\.json, instances_val2017\.json"):
        DATASETS["coco"].read(tmp_path)


def test_coco_annotations_that_name_nothing_are_listed(tmp_path):
    square = {"segmentation": [[2, 2, 12, 2, 12, 8, 2, 8]]}
    coco_file(tmp_path, [square, square | {"image_id": 7}, square | {"category_id": 99}])
    with pytest.raises(DatasetError, match="2 faults") as error:
        DATASETS["coco"].read(tmp_path)
    assert "image_id 7: no such image is listed; annotations of it: 2" in str(error.value)
    assert "annotation 3: category 99 is not listed" in str(error.value)


def test_coco_annotations_that_cannot_be_drawn_are_listed_before_the_first_click(tmp_path):
    coco_file(tmp_path, [{"segmentation": [[1, 2, 3, 4]]}, {"segmentation": {"size": [1, 1]}}])
    with pytest.raises(DatasetError, match=r"annotation 1: .*three corners[^:]*annotation 2: "):
        DATASETS["coco"].read(tmp_path)


def test_coco_by_split(tmp_path):
    coco_file(tmp_path, [{"segmentation": [[2, 2, 12, 2, 12, 8, 2, 8]]}])
    other = tmp_path / "annotations/instances_train2017.json"
    other.write_text((tmp_path / "annotations/instances_val2017.json").read_text())
    with pytest.raises(DatasetError, match="name a split"):
        DATASETS["coco"].read(tmp_path)
    assert masks_of(DATASETS["coco"].read(tmp_path, ("val2017",))) == {"person_1": (60, 0)}
    with pytest.raises(DatasetError, match=r"p\.jpg is missing"):
        DATASETS["coco"].read(tmp_path, ("train2017",))


def test_class_maps_are_not_taken_for_instances(tmp_path):
    save(tmp_path / "JPEGImages/p.jpg", BLANK)
    palette_png(tmp_path / "SegmentationObject/p.png", box(0, 4, 0, 4, 15) + box(6, 9, 6, 9, 8))
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("p\n")
    with pytest.raises(DatasetError, match="as a map of classes has"):
        DATASETS["voc"].read(tmp_path)


def test_targets_are_small_and_travel_to_other_processes(tmp_path):
    large = np.random.default_rng(0).integers(0, 2, (600, 800), np.uint8)
    save(tmp_path / "JPEGImages/p.jpg", np.zeros((600, 800, 3), np.uint8))
    palette_png(tmp_path / "SegmentationObject/p.png", large)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("p\n")
    (target,) = DATASETS["voc"].read(tmp_path)
    sent = pickle.dumps(target)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).ground_truth().mask, large == 1)


def test_davis_names_frames_without_annotation(tmp_path):
    for k in range(2):
        save(tmp_path / f"JPEGImages/480p/bear/{k:05}.jpg", BLANK)
    palette_png(tmp_path / "Annotations/480p/bear/00000.png", box(0, 2, 0, 2, 1))
    with pytest.raises(DatasetError, match=r"no mask for bear/00001\.jpg"):
        davis(tmp_path)


def test_davis_takes_every_tenth_frame(tmp_path):
    for k in range(25):
        save(tmp_path / f"JPEGImages/480p/bear/{k:05}.jpg", BLANK)
        palette_png(
            tmp_path / f"Annotations/480p/bear/{k:05}.png", box(0, 2, 0, 2, 1) + box(3, 5, 3, 5, 2)
        )
    assert masks_of(davis(tmp_path)) == {f"bear/{k:05}": (8, 0) for k in (0, 10, 20)}


def test_davis_as_a_selection_of_frames(tmp_path):
    save(tmp_path / "img/bear-1.jpg", BLANK)
    save(tmp_path / "gt/bear-1.png", np.stack([box(0, 2, 0, 2, 0)] * 2 + [box(0, 2, 0, 2, 38)], 2))
    assert masks_of(davis(tmp_path)) == {"bear-1": (4, 0)}


def test_clothing_parts(tmp_path):
    save(tmp_path / "images/1.png", np.zeros((60, 60, 3), np.uint8))
    labels = np.zeros((60, 60), np.uint8)
    labels[:30, :30], labels[30:, :30], labels[:30, 30:], labels[59, 59] = 1, 2, 3, 1
    save(tmp_path / "labels/1.png", labels)
    (tmp_path / "labels.txt").write_text("null\nshirt\nskin\nbelt\n")
    assert masks_of(DATASETS["clothing_parts"].read(tmp_path)) == {
        "1_shirt": (901, 0),
        "1_belt": (900, 0),
    }
    (tmp_path / "labels.txt").write_text("null\nshirt\n")
    with pytest.raises(DatasetError, match="label 2 is not in"):
        DATASETS["clothing_parts"].read(tmp_path)


def test_every_fault_of_a_folder_is_named(tmp_path):
    for name in "abcd":
        save(tmp_path / f"images/{name}.png", BLANK)
    save(tmp_path / "masks/b.png", box(0, 2, 0, 2))
    save(tmp_path / "masks/c.png", np.zeros((5, 7), np.uint8))
    (tmp_path / "masks/d.png").write_bytes(b"no image")
    save(tmp_path / "masks/z.png", box(0, 2, 0, 2))
    with pytest.raises(DatasetError) as error:
        DATASETS["grabcut"].read(tmp_path)
    for fault in (
        "4 faults",
        "no mask for a.png",
        "c.png has 7 x 5 pixels, c.png has 30 x 20",
        "d.png is not an image",
        "no photograph for the mask z.png",
    ):
        assert fault in str(error.value)


def test_a_photograph_with_a_hole_is_not_measured_on(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (160, 200, 3), np.uint8)
    (tmp_path / "images").mkdir()
    for name in "ab":
        whole = cv2.imencode(".jpg", pixels)[1].tobytes()
        holed = whole[:4000] + bytes(400) + whole[4400:]
        (tmp_path / f"images/{name}.jpg").write_bytes(holed if name == "b" else whole)
        save(tmp_path / f"masks/{name}.png", np.full((160, 200), 255, np.uint8))
    with pytest.raises(DatasetError, match=r"1 fault; nothing was measured\n +b.jpg is damaged"):
        DATASETS["grabcut"].read(tmp_path)


def test_voc_names_every_missing_file(tmp_path):
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("p\nq\n")
    save(tmp_path / "JPEGImages/p.jpg", BLANK)
    save(tmp_path / "SegmentationObject/q.png", box(0, 2, 0, 2))
    with pytest.raises(DatasetError, match=r"p: .*p\.png cannot be read.*\n.*q\.jpg is missing"):
        DATASETS["voc"].read(tmp_path)


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(DatasetError, match="unknown data set 'imagenet'; there are grabcut"):
        open_dataset(DataSpec("imagenet", str(tmp_path)))
    with pytest.raises(DatasetError, match="there is no folder"):
        open_dataset(DataSpec("grabcut", str(tmp_path / "nowhere")))
    with pytest.raises(DatasetError, match="no folder images or data_GT"):
        open_dataset(DataSpec("grabcut", str(tmp_path)))
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DatasetError, match="no photographs"):
        open_dataset(DataSpec("grabcut", str(tmp_path)))


@pytest.mark.slow
def test_the_real_folders(shared_data):
    counts = {"grabcut": 50, "berkeley": 100, "voc": 284, "coco_mval_dev": 160}
    for name, count in counts.items():
        _, targets = open_dataset(DataSpec(name, str(shared_data / name)))
        assert len(targets) == len({t.name for t in targets}) == count
        ground_truth = targets[0].ground_truth()
        assert ground_truth.mask.shape == targets[0].pixels().shape[:2]
        assert not (ground_truth.mask & ground_truth.ignore).any()
