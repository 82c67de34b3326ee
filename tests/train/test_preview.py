"""The contact sheet, and the commands `pack` and `preview` as a user meets them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import trees
from typer.testing import CliRunner

from clickcut.errors import BackendError
from clickcut.maps import guidance_map
from clickcut.overlay import NEGATIVE, POSITIVE
from clickcut_eval.datasets.rle import encode_mask
from clickcut_train.cli import app
from clickcut_train.data import MemorySource, Photo
from clickcut_train.data.config import DataConfig, parse_source
from clickcut_train.data.open import open_sources
from clickcut_train.errors import DataError
from clickcut_train.preview import (
    DISCS,
    DISTANCE,
    sample_cells,
    sample_sheet,
    strategy_cells,
    strategy_sheet,
)
from clickcut_train.sample_options import SampleOptions
from clickcut_train.samples import Sample


def photo(**changes):
    rles = tuple(encode_mask(trees.ids() == k) for k in (1, 2))
    return Photo("p", trees.jpeg(), rles, encode_mask(trees.ids() == 255), **changes)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_row_shows_the_image_both_maps_and_the_target():
    target = trees.ids() == 1
    sample = Sample(
        trees.picture()[:96, :96],
        target[:96, :96],
        (trees.ids() == 255)[:96, :96],
        np.zeros((96, 96), np.float16),
        positive=[(30, 40)],
        negative=[(80, 50)],
    )
    (_, image), (one, positive), (two, negative), (three, shown) = sample_cells(
        sample, DISTANCE, "name"
    )
    assert (one, two, three) == ("U1: 1 positive", "U0: 1 negative", "target (grey: void)")
    assert tuple(image[40, 30]) == POSITIVE
    assert tuple(image[50, 80]) == NEGATIVE
    expected = np.empty((96, 96), np.float32)
    guidance_map("distance", expected, 0).show([(30, 40)])
    np.testing.assert_array_equal(positive[..., 0], expected.astype(np.uint8))
    assert negative[50, 80].tolist() == [0, 0, 0]
    assert np.unique(shown).tolist() == [0, 128, 255]
    np.testing.assert_array_equal(shown[..., 1] == 255, sample.target)


def test_the_maps_are_those_of_the_recipe():
    target = np.zeros((96, 96), bool)
    target[20:70, 20:70] = True
    blank = np.zeros((96, 96), np.float16)
    sample = Sample(trees.picture()[:96, :96], target, ~target & False, blank, [(30, 40)])
    shown = {g.encoding: sample_cells(sample, g, "")[1][1] for g in (DISCS, DISTANCE)}
    disc = np.zeros((96, 96), np.float32)
    guidance_map("disc", disc, 5).show([(30, 40)])
    np.testing.assert_array_equal(shown["disc"][..., 0], (255 * disc).astype(np.uint8))
    assert np.unique(shown["disc"]).tolist() == [0, 255]
    assert shown["distance"][40, 30, 0] == 0


def test_every_strategy_has_a_row_of_the_same_crop():
    cells = strategy_cells(photo(chosen=0), SampleOptions(flip=False), 96, seed=2)
    assert [c[0] for c in cells[::4]] == [
        "p, strategy 1: in the ring",
        "p, strategy 2: on other objects",
        "p, strategy 3: all around (eq. 2)",
    ]
    for k in (4, 8):
        np.testing.assert_array_equal(cells[3][1], cells[k + 3][1])
        assert cells[1][0] == cells[k + 1][0]
    assert cells[10][0] == "U0: 10 negative"


def test_sheets_hold_as_many_rows_as_asked_for():
    source = MemorySource([photo(), photo()])
    one = strategy_sheet(source, SampleOptions(), 1, 96, 0)
    two = strategy_sheet(source, SampleOptions(), 2, 96, 0)
    assert two.shape[0] > 1.8 * one.shape[0]
    mixed = sample_sheet(source, SampleOptions.mixed(), DISCS, 3, 96, 0)
    assert mixed.shape == one.shape
    with pytest.raises(DataError, match="too small on the crop"):
        sample_sheet(
            MemorySource([Photo("p", trees.jpeg(), (encode_mask(np.eye(96, 128) > 0),))]),
            SampleOptions(),
            DISCS,
            1,
            32,
            0,
        )


def test_pack_then_preview(tmp_path):
    trees.voc(tmp_path / "voc")
    trees.davis(tmp_path / "davis")
    result = invoke(
        "pack", "--data", f"voc:{tmp_path}/voc:train@2", "--data",
        f"davis:{tmp_path}/davis:train", "-o", tmp_path / "out", "--long-side", 96, "--workers", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "7 photos, 14 objects, 1 shards" in result.output
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["options"]["long_side"] == 96
    assert [s["weight"] for s in manifest["sources"]] == [2.0, 1.0]
    for recipe in ("paper", "mixed"):
        sheet = tmp_path / f"new/{recipe}.png"
        result = invoke(
            "preview", "--data", f"shards:{tmp_path}/out", "--recipe", recipe, "--count", 1,
            "--size", 96, "-o", sheet,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        pixels = cv2.imread(str(sheet))
        assert pixels.shape[1] > 4 * 96
    source, _ = open_sources(DataConfig(sources=(parse_source(f"shards:{tmp_path}/out"),)))
    expected = sample_sheet(source, SampleOptions.mixed(), DISCS, 1, 96, 0)
    np.testing.assert_array_equal(pixels[..., ::-1], expected)  # the mixed recipe shows discs


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["pack", "-o", "x"], "at least one data set"),
        (["pack", "--data", "voc:nowhere", "-o", "x"], "say which splits"),
        (["pack", "--data", "voc:nowhere:train", "-o", "x"], "no such folder"),
        (["preview", "--data", "shards:nowhere", "-o", "x.png"], "cannot be read"),
        (["preview", "--data", "shards:nowhere"], None),
    ],
)
def test_wrong_calls_end_with_a_message(arguments, reason):
    result = invoke(*arguments)
    assert result.exit_code != 0
    if reason is not None:
        assert isinstance(result.exception, DataError)
        assert reason in str(result.exception)


@pytest.mark.parametrize("command", ["pack", "preview"])
def test_options_of_earlier_versions_name_the_new_one(command):
    result = invoke(command, "--coco", "coco:train2017", "-o", "x")
    assert result.exit_code == 2
    assert "--data KIND:FOLDER" in result.output


def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke("pack", "--data", f"folder:{tmp_path}", "-o", tmp_path / "out")
    assert isinstance(result.exception, BackendError)
    assert "pip install 'clickcut[train]'" in str(result.exception)


def test_a_picture_of_another_kind_is_an_error(tmp_path):
    trees.folder(tmp_path)
    result = invoke(
        "preview", "--data", f"folder:{tmp_path}", "-o", tmp_path / "sheet.txt", "--size", 64
    )
    assert "name a .png or .jpg file" in str(result.exception)
