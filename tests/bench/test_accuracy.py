"""The simulated user, the data sets and the summary."""

from __future__ import annotations

import json

import cv2
import naive
import numpy as np
import pytest
from fakes import FakePredictor, picture
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from clickcut_bench import accuracy
from clickcut_bench.accuracy import Curve, measure_all, summary
from clickcut_bench.clicker import Clicker
from clickcut_bench.datasets import DatasetError, Target, binary, grabcut, voc

small = arrays(np.bool_, (8, 11))


@settings(deadline=None)
@given(small, small, small)
def test_the_clicker_follows_the_protocol(mask, ignore, selected):
    clicker = Clicker(mask, ignore)
    taken = []
    for _ in range(4):
        missed = naive.depth(mask & ~ignore & ~selected)
        excess = naive.depth(~mask & ~ignore & selected)
        for x, y in taken:
            missed[y, x] = excess[y, x] = 0
        click = clicker.next_click(selected)
        if max(missed.max(), excess.max()) == 0:
            assert click is None
            return
        positive = missed.max() > excess.max()
        error = missed if positive else excess
        y, x = divmod(int(np.argmax(np.round(error, 4))), error.shape[1])
        assert click == (x, y, positive)
        taken.append((x, y))


@given(small, small, small)
def test_iou_leaves_ignored_pixels_out(mask, ignore, selected):
    pairs = [(m, s) for m, i, s in zip(mask.flat, ignore.flat, selected.flat, strict=True) if not i]
    union = sum(bool(m or s) for m, s in pairs)
    expected = sum(bool(m and s) for m, s in pairs) / union if union else 1.0
    assert Clicker(mask, ignore).iou(selected) == pytest.approx(expected)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def test_grabcut_reads_the_ignore_band(tmp_path):
    grey = np.zeros((20, 30), np.uint8)
    grey[5:10, 5:10], grey[10:12, 5:10] = 255, 128
    save(tmp_path / "images/a.png", np.zeros((20, 30, 3), np.uint8))
    save(tmp_path / "masks/a.png", grey)
    (only,) = grabcut(tmp_path)
    assert only.mask.sum() == 25
    assert only.ignore.sum() == 10
    assert only.pixels().shape == (20, 30, 3)


def test_a_photograph_may_have_several_objects(tmp_path):
    save(tmp_path / "images/a.jpg", np.zeros((20, 30, 3), np.uint8))
    for letter in "ab":
        save(tmp_path / f"masks/a{letter}.png", np.full((20, 30), 255, np.uint8))
    assert [t.name for t in binary(tmp_path)] == ["aa", "ab"]


def test_photographs_without_a_mask_are_all_named(tmp_path):
    for name in "abc":
        save(tmp_path / f"images/{name}.png", np.zeros((4, 4, 3), np.uint8))
    save(tmp_path / "masks/b.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DatasetError, match=r"a\.png, c\.png"):
        list(binary(tmp_path))
    with pytest.raises(DatasetError, match="no photographs"):
        list(grabcut(tmp_path / "nothing"))


def target():
    pixels = picture()
    mask = pixels[..., 0] > 150
    return pixels, mask


def test_measuring_selects_objects_and_counts_clicks(tmp_path):
    pixels, mask = target()
    save(tmp_path / "a.png", pixels[..., ::-1])
    targets = [Target(f"t{k}", tmp_path / "a.png", mask, np.zeros_like(mask)) for k in range(3)] + [
        Target("empty", tmp_path / "a.png", np.zeros_like(mask), np.zeros_like(mask))
    ]
    predictor = FakePredictor()
    curves = list(measure_all(targets, predictor, predictor.metadata.parameters, workers=2))
    assert [c.name for c in curves] == ["t0", "t1", "t2"]
    assert curves[0].ious[-1] >= 0.9
    assert len({tuple(c.ious) for c in curves}) == 1
    assert curves[0].clicks[0][2]


def test_summary_counts_failures_as_20_clicks():
    curves = [Curve("a", [0.5, 0.95], [(0, 0, True)] * 2, 0.1), Curve("b", [0.2] * 20, [], 0.1)]
    result = summary(curves, 0.9)
    assert result["mean_clicks"] == 11
    assert result["never_reached"] == 1
    assert result["iou_after"] == pytest.approx([0.35, 0.575, 0.575, 0.575])
    low, high = result["interval"]
    assert low <= 11 <= high


def test_a_run_writes_every_object(tmp_path, monkeypatch):
    pixels, mask = target()
    save(tmp_path / "grabcut/images/a.png", pixels[..., ::-1])
    save(tmp_path / "grabcut/masks/a.png", mask.astype(np.uint8) * 255)
    (tmp_path / "m.onnx").write_bytes(b"")
    monkeypatch.setattr(accuracy, "load_predictor", lambda path: FakePredictor())
    accuracy.run(tmp_path, tmp_path / "m.onnx", ["grabcut"], tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["results"]["grabcut"]["objects"] == 1
    assert document["objects"]["grabcut"][0]["name"] == "a"


def test_voc_objects_are_instances_with_void_ignored(shared_data):
    targets = list(voc(shared_data / "voc"))
    assert len(targets) == 284
    assert all(not (t.mask & t.ignore).any() for t in targets)


def test_the_shipped_model_selects_real_objects(shared_data, default_bundle):
    from clickcut.predictor import load_predictor

    predictor = load_predictor(default_bundle)
    targets = [t for t, _ in zip(grabcut(shared_data / "grabcut"), range(6), strict=False)]
    curves = list(measure_all(targets, predictor, predictor.metadata.parameters))
    assert summary(curves, 0.9)["mean_clicks"] < 8
