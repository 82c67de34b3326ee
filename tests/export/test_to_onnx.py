"""A checkpoint becomes a bundle that says the same as the network it came from."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_cases import operators, targets, write_random

from clickcut.backends import load_predictor
from clickcut.bundle.file import read_bundle
from clickcut_export import to_onnx
from clickcut_export.errors import ExportError, ParityError
from clickcut_export.to_onnx import OnnxOptions, describe, export_onnx, fold_batchnorm
from clickcut_train.checkpoint import load_model, read_checkpoint, write_checkpoint
from clickcut_train.errors import CheckpointError

pytestmark = pytest.mark.slow

NARROW_VGG = {"backbone": "vgg16", "width": 1 / 64, "encoding": "distance", "previous": False}
NARROW_MOBILE = {"backbone": "mobilenet_v2", "width": 0.125, "head_channels": 8}


def pytorch(checkpoint, batch):
    network, _, _ = load_model(checkpoint)
    with torch.no_grad():
        return network(torch.from_numpy(batch))[:, 0].numpy()


@pytest.mark.parametrize(
    "model",
    [
        {"architecture": "fcn32s", **NARROW_VGG},
        {"architecture": "fcn8s", **NARROW_MOBILE},
        {"architecture": "fcn4s", **NARROW_MOBILE},
        {"architecture": "topdown", **NARROW_MOBILE},
        {"architecture": "topdown", **NARROW_MOBILE, "backbone": "efficientnet_lite0"},
    ],
    ids=lambda m: f"{m['architecture']}-{m['backbone']}",
)
def test_networks_say_the_same_as_in_pytorch(tmp_path, model):
    checkpoint, path = write_random(tmp_path / "last.pt", **model), tmp_path / "model.onnx"
    parity = export_onnx(checkpoint, path, OnnxOptions())
    assert parity.worst < 1e-4
    assert parity.inputs > 0
    metadata = read_bundle(path).metadata
    channels = len(metadata.channels)
    batch = np.random.default_rng(1).random((3, channels, 64, 64), np.float32)
    expected = pytorch(checkpoint, batch)
    assert expected.std() > 1e-3  # or else equality would mean nothing
    np.testing.assert_allclose(load_predictor(path).predict(batch), expected, atol=1e-4)
    assert not operators(path) & {"BatchNormalization", "Dropout", "Identity", "Cast"}


def test_sizes_stay_open_when_asked_for(tmp_path):
    checkpoint = write_random(tmp_path / "last.pt", architecture="fcn16s", **NARROW_VGG)
    path = tmp_path / "open.onnx"
    export_onnx(checkpoint, path, OnnxOptions(size=96, dynamic=True))
    assert read_bundle(path).metadata.input_size == 96
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in ((1, 64, 64), (2, 96, 160)):
        batch = np.random.default_rng(2).random((shape[0], 5, *shape[1:]), np.float32)
        (logits,) = session.run(None, {"input": batch})
        np.testing.assert_allclose(logits, pytorch(checkpoint, batch), atol=1e-4)


def test_the_same_checkpoint_gives_the_same_bytes_in_another_process(
    checkpoint, exported, tmp_path
):
    notes, again = tmp_path / "notes.json", tmp_path / "again.onnx"
    notes.write_text('{"accuracy": {"somewhere@90": 3.5}}')
    command = [sys.executable, "-m", "clickcut", "export", "onnx", str(checkpoint)]
    command += ["-o", str(again), "--name", "small", "--version", "7", "--notes", str(notes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sha256 = hashlib.sha256(exported.read_bytes()).hexdigest()
    assert hashlib.sha256(again.read_bytes()).hexdigest() == sha256
    assert sha256 in done.stdout
    assert re.search(
        r"probability differs by at most \S+, on average by \S+; masks IoU", done.stdout
    )


def test_the_papers_network_says_the_same_as_in_pytorch(checkpoint, exported):
    batch = np.random.default_rng(1).random((3, 5, 64, 64), np.float32)
    batch[:, 3:] *= 255  # distances
    logits = load_predictor(exported).predict(batch)
    np.testing.assert_allclose(logits, pytorch(checkpoint, batch), atol=1e-4)


def test_the_metadata_tell_where_it_comes_from(checkpoint, exported):
    bundle = read_bundle(exported)
    metadata = bundle.metadata
    assert bundle.sealed
    assert (metadata.name, metadata.version, metadata.input_size) == ("small", "7", 64)
    assert metadata.architecture == "fcn8s-vgg16"
    assert (metadata.guidance.encoding, metadata.takes_probability) == ("distance", False)
    assert metadata.training["samples"] == 32
    assert "somewhere.pth" in str(metadata.training["from_weights"])
    assert metadata.accuracy == {"somewhere@90": 3.5}
    assert metadata.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_a_training_that_began_from_a_bundle_keeps_its_size_region_and_cut(tmp_path):
    model = {"architecture": "topdown", **NARROW_MOBILE}
    path, kept = write_random(tmp_path / "last.pt", **model), read_checkpoint(tmp_path / "last.pt")
    region = {"zoom": True, "expansion": 1.7, "min_side": 96, "mirror": True, "mirror_views": [1.2]}
    cut = {"cut_lambda": 4.0, "cut_sigma": 0.0, "seed_radius": 2.0, "threshold": 0.5}
    kept.provenance["options"] = {"input_size": 96, "region": region, "cut": cut}
    write_checkpoint(path, kept)
    _, config, seen = load_model(path)
    found = describe(path, config, seen, OnnxOptions())
    assert (found.input_size, found.region.expansion, found.cut.cut_lambda) == (96, 1.7, 4.0)
    assert found.region.mirror_views == (1.2,)
    assert "from_options" not in found.training
    notes = {"cut": cut | {"cut_lambda": 1.0}}
    other = describe(path, config, seen, OnnxOptions(size=64, notes=notes))
    assert (other.input_size, other.region.expansion, other.cut.cut_lambda) == (64, 1.7, 1.0)


def test_the_file_is_valid_onnx_and_holds_no_paths(exported):
    onnx.checker.check_model(onnx.load(str(exported)), full_check=True)
    data = exported.read_bytes()
    assert b".py" not in data
    assert b"/torch" not in data


def test_a_plain_onnx_runtime_script_runs_it(exported):
    """The snippet of the documentation, in a Python that cannot see this project."""
    document = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    script = snippet.replace("mine.onnx", str(exported)) + "\nimport sys\nprint(sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(64, 64)" in done.stdout
    assert "'clickcut" not in done.stdout


def test_what_differs_is_not_written(checkpoint, tmp_path, monkeypatch):
    whole = to_onnx.to_graph

    def damaged(*args):
        model = whole(*args)
        tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
        tensor.raw_data = bytes(len(tensor.raw_data))
        return model

    monkeypatch.setattr(to_onnx, "to_graph", damaged)
    path = tmp_path / "out.onnx"
    path.write_text("the bundle of before")
    with pytest.raises(ParityError, match=r"differs by at most .* Nothing was written"):
        export_onnx(checkpoint, path, OnnxOptions(), targets(tmp_path, 1))
    assert path.read_text() == "the bundle of before"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (OnnxOptions(size=100), "input_size"),
        (OnnxOptions(notes={"accurracy": {}}), "accurracy"),
        (OnnxOptions(name="not a name"), "name"),
    ],
)
def test_options_that_do_not_fit_are_named(checkpoint, tmp_path, options, message):
    with pytest.raises(ExportError, match=message):
        export_onnx(checkpoint, tmp_path / "out.onnx", options)


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "notes.pt"
    path.write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match=r"notes\.pt"):
        export_onnx(path, tmp_path / "out.onnx", OnnxOptions())


def test_a_batchnorm_that_cannot_be_folded_is_refused():
    with pytest.raises(ExportError, match="BatchNorm"):
        fold_batchnorm(torch.nn.Sequential(torch.nn.BatchNorm2d(3)))
