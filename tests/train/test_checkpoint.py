"""Checkpoint files: damage is noticed, older formats are read."""

from __future__ import annotations

import pytest
import torch
from train_cases import ALONE, config, data

from clickcut_train.checkpoint import read_checkpoint
from clickcut_train.config_file import read_stages, validated
from clickcut_train.errors import CheckpointError, ConfigError
from clickcut_train.old_keys import new_config_keys, new_tensor_names
from clickcut_train.trainer import Trainer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run = Trainer(config(), folder, data(), ALONE)
    run.step()
    run.save()
    run.close()
    return folder / "last.pt"


def test_one_flipped_bit_anywhere_is_refused(saved, tmp_path):
    whole = saved.read_bytes()
    path = tmp_path / "flipped.pt"
    last = len(whole) - 1
    for position in (
        0,
        5,
        40,
        len(whole) // 3,
        len(whole) // 2,
        last - 300,
        last - 90,
        last - 70,
        last,
    ):
        data = bytearray(whole)
        data[position] ^= 1
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"flipped\.pt: .*(damaged|not a checkpoint)"):
            read_checkpoint(path)


def test_a_truncated_checkpoint_and_one_without_its_checksum_are_refused(saved, tmp_path):
    whole = saved.read_bytes()
    path = tmp_path / "cut.pt"
    for length in (0, 3, 1000, len(whole) - 1, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(path)
    state = torch.load(saved, weights_only=True)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="its checksum is missing"):
        read_checkpoint(path)


def old_format(saved, path):
    """The checkpoint as version 2 of the format had it."""
    state = torch.load(saved, weights_only=True)
    names = {"ema": "average", "optimizer": "optimiser"}
    state = {names.get(k, k): v for k, v in state.items()} | {"format": 2}
    for part in ("model", "average"):
        state[part] = {k.replace("backbone.", "trunk.", 1): v for k, v in state[part].items()}
    old = state["config"]
    old["optimiser"] = old.pop("optimizer")
    for section, new, name in (
        ("optimiser", "lr", "rate"),
        ("optimiser", "backbone_lr_mult", "trunk_rate"),
        ("optimiser", "ema_decay", "average"),
        ("model", "backbone", "trunk"),
        ("sessions", "next_click_probability", "go_on"),
        ("samples", "max_positive", "positive_most"),
        ("samples", "max_in_ring", "ring_most"),
        ("samples", "max_on_each_other", "others_most"),
    ):
        old[section][name] = old[section].pop(new)
    del old["samples"]["area_exponent"]
    old["samples"]["choose"] = "area"
    old["optimiser"]["frozen_batchnorm"] = False
    torch.save(state, path)


@pytest.mark.slow
def test_a_checkpoint_with_the_old_names_is_read_and_resumed(saved, tmp_path):
    path = tmp_path / "last.pt"
    old_format(saved, path)
    new, old = read_checkpoint(saved), read_checkpoint(path)
    assert old.config == new.config
    assert old.ema_state.keys() == new.ema_state.keys()
    run = Trainer(config(), tmp_path, data(), ALONE)
    run.step()
    assert run.learner.seen == 8
    run.close()


def test_a_damaged_checkpoint_of_the_old_format_is_refused(saved, tmp_path):
    path = tmp_path / "old.pt"
    old_format(saved, path)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


def test_old_keys_of_configurations_mean_the_new_ones(tmp_path):
    file = tmp_path / "old.toml"
    file.write_text(
        "[model]\ntrunk = 'vgg16'\n[optimiser]\nrate = 0.5\n[stages.a]\nsessions.go_on = 0.25\n"
    )
    (stage,) = read_stages(file, ["optimizer.lr=0.25"])
    assert stage.config.model.backbone == "vgg16"
    assert stage.config.optimizer.lr == 0.25
    assert stage.config.sessions.next_click_probability == 0.25
    with pytest.raises(ConfigError, match="lr is given twice"):
        validated({"optimizer": {"lr": 1, "rate": 2}}, "x")
    with pytest.raises(ConfigError, match="optimizer is given twice"):
        new_config_keys({"optimizer": {}, "optimiser": {}}, "x")
    assert new_tensor_names({"trunk.a": 1, "head.trunk.b": 2}) == {
        "backbone.a": 1,
        "head.trunk.b": 2,
    }
