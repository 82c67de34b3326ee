"""What keeps a run from starting is said before any photograph is read."""

from __future__ import annotations

import pytest
import trees
from train_cases import ALONE, config, data
from typer.testing import CliRunner

from clickcut_train import stages
from clickcut_train.cli import app
from clickcut_train.errors import CheckpointError, ConfigError, WeightsError
from clickcut_train.start import locked_folder
from clickcut_train.trainer import Trainer

RUN = """
model = {{width = 0.25, head_channels = 16, input_size = 64}}
data.sources = ["folder:{data}"]
sessions.pool = 4
schedule = {{samples = 8, batch = 4}}
output.tensorboard = false
machine.threads = 1
"""


@pytest.fixture
def invoke(tmp_path):
    trees.folder(tmp_path / "data")
    file = tmp_path / "run.toml"
    file.write_text(RUN.format(data=tmp_path / "data"))
    command = ["run", "--config", str(file)]
    return lambda *more: CliRunner().invoke(app, [*command, *map(str, more)])


@pytest.fixture
def no_data(monkeypatch):
    """Reading photographs is an error."""

    def fail(*_):
        raise AssertionError("photographs were read")

    monkeypatch.setattr(stages, "open_data", fail)


def test_a_foreign_or_damaged_checkpoint_is_refused_before_data_are_read(invoke, no_data, tmp_path):
    out = tmp_path / "out"
    run = Trainer(config(), out, data(), ALONE)
    run.save()
    run.close()
    result = invoke("--out", out)
    assert isinstance(result.exception, ConfigError)
    assert "holds a run that began otherwise" in str(result.exception)
    (out / "last.pt").write_bytes(b"something else")
    assert isinstance(invoke("--out", out).exception, CheckpointError)


def test_a_later_stages_foreign_checkpoint_is_refused_before_the_first_stage(
    invoke, no_data, tmp_path
):
    with (tmp_path / "run.toml").open("a") as file:
        file.write("stages.early = {}\nstages.late.schedule.samples = 12\n")
    out = tmp_path / "out"
    run = Trainer(config(), out / "late", data(), ALONE)
    run.save()
    run.close()
    result = invoke("--out", out)
    assert isinstance(result.exception, ConfigError)
    assert f"{out / 'late'} holds a run that began otherwise" in str(result.exception)
    assert isinstance(invoke("--out", out, "--stage", "early").exception, AssertionError)


@pytest.mark.parametrize(
    "setting", [("initial.path=none.pth", "initial.kind=mobilenet_v2"), ("loss.teacher=none.pt",)]
)
def test_a_missing_file_is_named_before_data_are_read(invoke, no_data, tmp_path, setting):
    options = [word for text in setting for word in ("--set", text)]
    result = invoke("--out", tmp_path / "out", *options)
    assert isinstance(result.exception, ConfigError | WeightsError)
    assert "no such file" in str(result.exception)


@pytest.mark.parametrize("out", ["/dev/null/x", "data/images/p0.jpg"])
def test_a_folder_that_cannot_be_made_is_an_error_with_advice(invoke, no_data, tmp_path, out):
    result = invoke("--out", tmp_path / out)
    assert isinstance(result.exception, ConfigError)
    assert "give another --out" in str(result.exception)


def test_a_folder_is_used_by_one_run_at_a_time(invoke, tmp_path):
    out = tmp_path / "out"
    with locked_folder(out):
        result = invoke("--out", out)
        assert isinstance(result.exception, ConfigError)
        assert "another run is writing to" in str(result.exception)
        assert not list(out.iterdir())
    result = invoke("--out", out)
    assert result.exit_code == 0, result.output
    assert (out / "last.pt").exists()
    assert "precision: " in result.output
