"""The search for parameters."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from eval_cases import save
from rich.console import Console

from clickcut_eval import cli
from clickcut_eval import tune as tuning
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.errors import MethodError, RunError
from clickcut_eval.jobs import perform
from clickcut_eval.methods import choose, describe
from clickcut_eval.tune import SPACE, draw, tune


@pytest.fixture
def voc_folder(tmp_path, scene):
    pixels, mask = scene
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    for name in "ab":
        save(tmp_path / f"JPEGImages/{name}.jpg", pixels[..., ::-1])
        save(tmp_path / f"SegmentationObject/{name}.png", mask.astype(np.uint8))
    return tmp_path


def test_the_best_trial_comes_first(voc_folder, monkeypatch):
    monkeypatch.setattr(tuning, "on_processes", lambda jobs, n: ((j, perform(j)) for j in jobs))
    console = Console(file=io.StringIO())
    trials = tune(
        "growcut",
        DataSpec("voc", str(voc_folder), ("train",)),
        trials=3,
        objects=2,
        max_clicks=3,
        console=console,
    )
    assert len(trials) == 3
    assert [t["clicks"] for t in trials] == sorted(t["clicks"] for t in trials)
    assert {} in [t["parameters"] for t in trials]
    with pytest.raises(MethodError, match="nothing to tune in 'sam'"):
        tune("sam", DataSpec("voc", str(voc_folder)), 1, 1)


@pytest.mark.parametrize("method", list(SPACE))
def test_every_range_is_of_a_parameter_and_holds_its_value(method):
    parameters = describe(choose([method], None, {}, {})[0])["parameters"]
    first, *others = draw(method, 20)
    assert first == {}
    for name, (low, high) in SPACE[method].items():
        assert low <= parameters[name] <= high
        values = [o[name] for o in others]
        assert low <= min(values) < max(values) <= high
    assert list(draw(method, 20))[1:] == others


def test_a_file_that_cannot_be_written_is_named_before_the_search(voc_folder, monkeypatch):
    monkeypatch.setattr(tuning, "tune", lambda *_: pytest.fail("it searched"))
    blocked = voc_folder / "ImageSets/Segmentation/train.txt"
    with pytest.raises(RunError, match=r"trials\.json: cannot be written"):
        cli.tune(f"voc:{voc_folder}:train", json_path=blocked / "trials.json")
    with pytest.raises(RunError, match="not a file of trials"):
        cli.tune(f"voc:{voc_folder}:train", json_path=blocked)
    with pytest.raises(RunError, match="not a file of trials"):
        cli.tune(f"voc:{voc_folder}:train", json_path=voc_folder)


def test_searches_may_add_to_one_file(voc_folder, monkeypatch):
    path = voc_folder / "trials.json"

    def search(method, *_):
        path.write_text('{"other": [1]}')
        return [{"clicks": 1.0}]

    monkeypatch.setattr(tuning, "tune", search)
    cli.tune(f"voc:{voc_folder}:train", methods="growcut", json_path=path)
    assert json.loads(path.read_text()) == {"other": [1], "growcut": [{"clicks": 1.0}]}
