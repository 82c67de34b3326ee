"""`scripts/lay_out_clothing.py`: garments as objects, without photographs kept for measuring."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import trees
from scipy.io import savemat

from clickcut_train.data.config import DataConfig, parse_source
from clickcut_train.data.open import open_sources

SCRIPT = Path(__file__).parents[2] / "scripts" / "lay_out_clothing.py"
NAMES = ["null", "dress", "skin", "hat"]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lay_out_clothing.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def clone(root, count=3):
    trees.write(root / "photos/none", "")
    (root / "annotations/pixel-level").mkdir(parents=True)
    savemat(root / "label_list.mat", {"label_list": np.array([NAMES], object)})
    for k in range(count):
        labels = np.zeros((600, 960), np.uint8)
        labels[100:500, 200:400] = 1
        labels[20:90, 200:400] = 2
        labels[20:60, 500:560] = 3
        labels[0, :4] = 3
        savemat(root / f"annotations/pixel-level/{k:04d}.mat", {"groundtruth": labels})
        cv2.imwrite(str(root / f"photos/{k:04d}.jpg"), labels * 60)


def test_garments_become_objects(tmp_path, monkeypatch):
    clone(tmp_path / "clone")
    trees.write(tmp_path / "kept/0001.png", "")
    run(monkeypatch, tmp_path / "clone", tmp_path / "out", "--without", tmp_path / "kept")
    config = DataConfig(sources=(parse_source(f"coco:{tmp_path}/out"),), min_area=50)
    source, _ = open_sources(config)
    assert [source.photo(i).name.split("/")[-1] for i in range(len(source))] == [
        "0000.jpg",
        "0002.jpg",
    ]
    photo = source.photo(0)
    assert photo.size == (300, 480)
    dress, hat = photo.masks()
    assert dress[50:250, 100:200].all()
    assert dress.sum() == 200 * 100
    assert hat[10:30, 250:280].all()


def test_another_folder_is_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"not a clone of .*label_list\.mat"):
        run(monkeypatch, tmp_path, tmp_path / "out")
    clone(tmp_path, count=0)
    with pytest.raises(SystemExit, match="no photograph with a label map"):
        run(monkeypatch, tmp_path, tmp_path / "out")
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, tmp_path / "out", "--without", tmp_path / "mistyped")
    assert "mistyped: no such folder" in capsys.readouterr().err
