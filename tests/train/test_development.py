"""`scripts/lay_out_development.py`: the objects by which things are set, as a data set."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import trees

from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import open_dataset
from clickcut_train.data.open import is_held_out

SCRIPT = Path(__file__).parents[2] / "scripts" / "lay_out_development.py"


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lay_out_development.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.fixture
def sources(tmp_path):
    trees.folder(tmp_path / "duts", 12)
    trees.voc(tmp_path / "voc", 4)
    small = {"segmentation": [trees.square(2, 2, 12, 12)]}  # 100 of 12,288 pixels
    trees.coco(tmp_path / "coco", [small, {"segmentation": [trees.square(50, 50, 52, 52)]}], 6)
    path = tmp_path / "coco/instances.json"
    document = json.loads(path.read_text())
    for annotation in document["annotations"]:
        annotation["category_id"] = 1
    document["categories"] = [{"id": 1, "name": "thing"}]
    path.write_text(json.dumps(document))
    return (
        *("--duts", tmp_path / "duts"),
        *("--voc", tmp_path / "voc"),
        *("--coco", tmp_path / "coco"),
    )


def test_objects_come_from_each_source_with_their_masks(tmp_path, monkeypatch, sources, capsys):
    run(monkeypatch, *sources, "--objects", 3, 4, 3, "-o", tmp_path / "out")
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 10 objects\n"
    _, targets = open_dataset(DataSpec("folder", str(tmp_path / "out")))
    by_source = {s: [t for t in targets if t.image.name.startswith(s)] for s in ("duts", "voc")}
    assert len(targets) == 10
    assert len(by_source["duts"]) == 3
    assert len(by_source["voc"]) == 4
    assert all(is_held_out(t.image.name.removeprefix("duts-"), 0.5) for t in by_source["duts"])

    _, train = open_dataset(DataSpec("voc", str(tmp_path / "voc"), ("train",)))
    for target in by_source["voc"]:
        truth = target.ground_truth()
        assert truth.ignore.any()
        same = [
            np.array_equal(t.ground_truth().mask, truth.mask)
            and np.array_equal(t.ground_truth().ignore, truth.ignore)
            for t in train
            if f"voc-{t.image.name}" == target.image.name
        ]
        assert same.count(True) == 1


def test_a_share_of_small_objects_and_none_too_small(tmp_path, monkeypatch, sources):
    run(monkeypatch, *sources, "--objects", 1, 1, 3, "-o", tmp_path / "out")
    _, targets = open_dataset(DataSpec("folder", str(tmp_path / "out")))
    areas = [
        np.count_nonzero(t.ground_truth().mask) for t in targets if t.image.name.startswith("coco-")
    ]
    assert sorted(a < 0.01 * 96 * 128 for a in areas) == [False, False, True]
    assert min(areas) >= 50


def test_a_folder_in_use_is_refused_and_too_few_objects_are_said(
    tmp_path, monkeypatch, sources, capsys
):
    run(monkeypatch, *sources, "--objects", 1, 1, 30, "-o", tmp_path / "out")
    assert "8 objects, not 32" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(monkeypatch, *sources, "-o", tmp_path / "out")
    assert "is not empty" in capsys.readouterr().err


def test_the_same_objects_every_time(tmp_path, monkeypatch, sources):
    for out in ("one", "two"):
        run(monkeypatch, *sources, "--objects", 3, 3, 3, "-o", tmp_path / out)
    files = [sorted(p for p in (tmp_path / out).rglob("*.*")) for out in ("one", "two")]
    assert [p.name for p in files[0]] == [p.name for p in files[1]]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]
