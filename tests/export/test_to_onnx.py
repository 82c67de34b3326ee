"""A checkpoint becomes a bundle that says the same as the model it came from."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from clickcut.predictor import load_predictor
from clickcut_export import to_onnx
from clickcut_train.fit import Recipe, Run
from clickcut_train.model import ClickFCN


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    run = Run(Recipe(width=16), folder)
    run.prepare()
    run.seen = 32
    run.save()
    return folder / "last.pt"


@pytest.fixture(scope="module")
def bundle(checkpoint):
    path = checkpoint.with_name("small.onnx")
    notes = checkpoint.with_name("notes.json")
    notes.write_text(json.dumps({"accuracy": {"somewhere@90": 3.5}}))
    metadata = to_onnx.describe(checkpoint, "small", "7", 64, notes)
    assert to_onnx.export(checkpoint, path, metadata) < to_onnx.TOLERANCE
    return path


def test_the_bundle_equals_the_model(checkpoint, bundle):
    state = torch.load(checkpoint, weights_only=True)
    model = ClickFCN(width=16).eval()
    model.load_state_dict(state["average"])
    batch = np.random.default_rng(1).random((3, 6, 64, 64), np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(batch))[:, 0].numpy()
    np.testing.assert_allclose(load_predictor(bundle).predict(batch), expected, atol=1e-4)


def test_the_metadata_tells_where_it_comes_from(checkpoint, bundle):
    import hashlib

    metadata = load_predictor(bundle).metadata
    assert (metadata.name, metadata.version, metadata.input_size) == ("small", "7", 64)
    assert metadata.training["samples"] == 32
    assert metadata.accuracy == {"somewhere@90": 3.5}
    assert metadata.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_the_file_holds_no_paths_and_loads_without_this_project(bundle):
    import onnxruntime

    onnx.checker.check_model(onnx.load(str(bundle)), full_check=True)
    assert b".py" not in bundle.read_bytes()
    session = onnxruntime.InferenceSession(str(bundle), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": np.zeros((1, 6, 64, 64), np.float32)})
    assert logits.shape == (1, 64, 64)


def test_a_bundle_that_differs_is_not_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(to_onnx, "TOLERANCE", -1.0)
    metadata = to_onnx.describe(checkpoint, "small", "7", 64, None)
    with pytest.raises(ValueError, match="differs from PyTorch"):
        to_onnx.export(checkpoint, tmp_path / "out.onnx", metadata)
    assert not list(tmp_path.iterdir())
