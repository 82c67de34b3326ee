"""Configuration files: stages, assignments, and errors that name the key."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
from train_cases import config
from typer.testing import CliRunner

from clickcut_train.cli import app
from clickcut_train.config_file import flat, read_stages, to_toml, validated
from clickcut_train.errors import ConfigError
from clickcut_train.recipes import find_config, recipes
from clickcut_train.stages import select, start_of

CONFIGS = [recipe.path for recipe in recipes()]


def write(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_files_that_ship_are_valid_and_written_again_are_the_same(path, tmp_path):
    stages = read_stages(path)
    assert stages
    for stage in stages:
        again = read_stages(write(tmp_path, to_toml(stage.config)))
        assert again[0].config == stage.config


def test_there_are_files_that_ship():
    assert {"default", "fcn8s-mobilenet", "fcn8s-vgg16", "tiny"} <= {p.stem for p in CONFIGS}


def test_a_stage_is_the_common_part_with_its_own_values_over_it(tmp_path):
    path = write(
        tmp_path,
        """
        [model]
        architecture = "fcn32s"
        encoding = "distance"
        [schedule]
        samples = 100
        [stages.a]
        [stages.b]
        model.architecture = "fcn16s"
        schedule.samples = 50
        """,
    )
    a, b = read_stages(path)
    assert (a.name, b.name) == ("a", "b")
    assert (a.config.model.architecture, a.config.schedule.samples) == ("fcn32s", 100)
    assert (b.config.model.architecture, b.config.schedule.samples) == ("fcn16s", 50)
    assert b.config.model.encoding == "distance"


def test_assignments_go_over_the_file_and_its_stages(tmp_path):
    path = write(tmp_path, "[stages.a]\nschedule.seed = 3\n[stages.b]\n")
    assignments = [
        "schedule.seed=7",
        "output.folder=some where",
        "model.previous=false",
        'data.sources=[{kind = "coco", path = "c", weight = 2.5}]',
    ]
    for stage in read_stages(path, assignments):
        values = flat(stage.config)
        assert values["schedule.seed"] == 7
        assert values["output.folder"] == "some where"
        assert values["model.previous"] is False
        assert values["data.sources"][0]["weight"] == 2.5


@pytest.mark.parametrize(
    ("text", "assignment", "match"),
    [
        ("[model]\nwidht = 1", "", r"model\.widht"),
        ("[modle]", "", "modle"),
        ("[schedule]\nbatch = 0", "", r"schedule\.batch"),
        ("[schedule]\nbatch = '16'", "schedule.batch=x", r"schedule\.batch"),
        ("[model]\ninput_size = 100", "", r"model\.input_size"),
        ("[initial]\nkind = 'mobilenet_v2'", "", "both kind and path"),
        ("[sessions]\npool = 20", "", r"pool = 20 must be a multiple"),
        ("[validation]\nevery = 5", "", "needs validation.source"),
        ("[samples]\ndamaged = 0.1\n[model]\nprevious = false", "", "needs model.previous"),
        ("stages = 3", "", "must be tables"),
        ("[stages.a]\nmodel.nothing = 1", "", r"run\.toml a:\n.*model\.nothing"),
        ("no toml", "", "not TOML"),
        ("", "schedule", "section.key=value"),
        ("", "=3", "section.key=value"),
        ("", "a b=3", "not a section.key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, assignment, match):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=match):
        read_stages(path, [assignment] if assignment else [])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read \(No such file"):
        read_stages(tmp_path / "none.toml")


def test_each_stage_starts_from_the_best_checkpoint_of_the_one_before(tmp_path):
    stages = read_stages(write(tmp_path, "[stages.a]\n[stages.b]\n[stages.c]\n"))
    assert start_of(stages[0], stages, tmp_path).initial.kind == "none"
    with pytest.raises(ConfigError, match="run stage a first"):
        start_of(stages[1], stages, tmp_path)
    (tmp_path / "a").mkdir()
    for name in ("last.pt", "best.pt"):
        (tmp_path / "a" / name).touch()
        initial = start_of(stages[1], stages, tmp_path).initial
        assert (initial.kind, initial.path) == ("checkpoint", str(tmp_path / "a" / name))


def test_unknown_stages_are_errors(tmp_path):
    stages = read_stages(write(tmp_path, "[stages.a]\n[stages.b]\n"))
    assert select(stages, "b") == stages[1:]
    assert select(stages, "") == stages
    with pytest.raises(ConfigError, match="no stage c; the file has a, b"):
        select(stages, "c")


def test_values_print_as_they_are_read(tmp_path):
    settings = config(output={"folder": 'quote " and \\ é'})
    assert read_stages(write(tmp_path, to_toml(settings)))[0].config == settings


def test_recipes_are_found_by_name_and_listed_with_a_line_each(tmp_path):
    names = {"default", "tiny", "fcn8s-mobilenet", "fcn8s-vgg16", "vgg16-overfit"}
    assert names <= {r.name for r in recipes()}
    assert all(20 < len(r.summary) < 100 and r.summary.endswith(".") for r in recipes())
    assert find_config("tiny").read_text().startswith("# A first run")
    assert find_config("some/tiny") == Path("some/tiny")
    assert find_config("tiny.toml") == Path("tiny.toml")
    with pytest.raises(ConfigError, match="no such recipe; there are default"):
        find_config("huge")
    listed = CliRunner().invoke(app, ["recipes"]).output.splitlines()
    assert [line.split()[0] for line in listed] == [r.name for r in recipes()]
    shown = CliRunner().invoke(app, ["recipes", "tiny"]).output
    assert shown == find_config("tiny").read_text()


def test_a_share_of_photos_and_pairs_of_objects_exclude_one_another():
    with pytest.raises(ConfigError, match=r"pairs_per_object = 0"):
        validated({"data": {"several": 0.5}, "samples": {"pairs_per_object": 15}}, "test")


def test_recipes_are_explained():
    text = (Path(__file__).parents[2] / "docs/training.md").read_text()
    assert [r.name for r in recipes() if f"\n| `{r.name}` | " not in text] == []


def test_recipes_are_part_of_the_package():
    files = importlib.resources.files("clickcut_train.recipes")
    assert (files / "default.toml").is_file()
