"""Model files: the one that ships works, everything else is refused by name."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from fakes import metadata
from onnx import TensorProto, helper, numpy_helper

from clickcut.bundle import METADATA_KEY, bundled_models, parse_metadata
from clickcut.errors import BundleError
from clickcut.predictor import load_predictor

SIZE = 64


def write(path, document=None, size=SIZE, channels=6, finite=True):
    """A model that averages its input channels."""
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    scale = numpy_helper.from_array(np.array(1.0 if finite else np.nan, np.float32), "scale")
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", size, size])],
        [axes, scale],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if document is not None:
        helper.set_model_props(model, {METADATA_KEY: document})
    onnx.save(model, str(path))
    return path


def good():
    return metadata().model_dump(mode="json")


def test_a_small_bundle_predicts(tmp_path):
    predictor = load_predictor(write(tmp_path / "m.onnx", json.dumps(good())))
    predictor.warm_up()
    batch = np.random.default_rng(0).random((3, 6, SIZE, SIZE), np.float32)
    np.testing.assert_allclose(predictor.predict(batch), batch.mean(1), rtol=1e-5)
    assert predictor.metadata == metadata()
    assert predictor.metadata.parameters.seed_radius == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata_version": 2}, "metadata version 2"),
        ({"metadata_version": None}, "metadata version None"),
        ({"input_size": 100}, "input_size"),
        ({"name": "../evil"}, "name"),
        ({"surprise": 1}, "surprise"),
        ({"channels": ["blue", "green", "red", "positive", "negative"]}, "channels"),
        ({"guidance": {"encoding": "gauss", "radius": 3}}, "guidance.encoding"),
        ({"checkpoint_sha256": "?"}, "checkpoint_sha256"),
    ],
)
def test_metadata_that_is_wrong_is_refused_by_field(tmp_path, change, message):
    with pytest.raises(BundleError, match=message):
        load_predictor(write(tmp_path / "m.onnx", json.dumps(good() | change)))


@pytest.mark.parametrize("field", sorted(metadata().model_dump()))
def test_every_field_is_required(field):
    document = good()
    del document[field]
    with pytest.raises(BundleError, match=field.split("_")[0]):
        parse_metadata(json.dumps(document), "file.onnx")


def test_metadata_that_is_not_an_object_is_refused():
    for document in ("[]", "3", "{"):
        with pytest.raises(BundleError, match=r"file\.onnx"):
            parse_metadata(document, "file.onnx")


def test_a_foreign_onnx_file_is_refused(tmp_path):
    with pytest.raises(BundleError, match="not a clickcut bundle"):
        load_predictor(write(tmp_path / "m.onnx"))


@pytest.mark.parametrize("wrong", [{"size": 96}, {"channels": 5}])
def test_a_graph_that_does_not_fit_its_metadata_is_refused(tmp_path, wrong):
    with pytest.raises(BundleError, match="the metadata says"):
        load_predictor(write(tmp_path / "m.onnx", json.dumps(good()), **wrong))


def test_a_network_that_gives_nan_fails_its_warm_up(tmp_path):
    predictor = load_predictor(write(tmp_path / "m.onnx", json.dumps(good()), finite=False))
    with pytest.raises(BundleError, match="not finite"):
        predictor.warm_up()


def test_damaged_and_missing_files_are_refused(tmp_path):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"not a model", b""):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"m\.onnx"):
            load_predictor(path)
    with pytest.raises(BundleError, match="no such file"):
        load_predictor(tmp_path / "none.onnx")


def test_the_model_that_ships_is_small_complete_and_works(default_bundle):
    assert next(iter(bundled_models())) == "default"
    assert default_bundle.stat().st_size <= 16 * 2**20
    predictor = load_predictor(default_bundle)
    predictor.warm_up()
    described = predictor.metadata
    assert described.training
    assert described.accuracy
    assert described.takes_probability


def test_a_prediction_is_the_same_alone_and_in_a_batch(default_bundle):
    predictor = load_predictor(default_bundle)
    size = predictor.metadata.input_size
    batch = np.random.default_rng(0).random((2, 6, size, size), np.float32)
    together = predictor.predict(batch)
    alone = np.concatenate([predictor.predict(batch[k : k + 1]) for k in range(2)])
    np.testing.assert_allclose(together, alone, atol=1e-3)
