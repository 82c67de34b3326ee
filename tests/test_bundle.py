"""Model files: the one that ships works, everything else is refused by name."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes import metadata, picture
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import clickcut
from clickcut.backends import load_predictor
from clickcut.bundle import METADATA_KEY, bundled_models, parse_metadata
from clickcut.bundle.file import SEAL_KEY, read_bundle, seal, seal_file
from clickcut.errors import BundleError

SIZE = 64
SUMMARY = Path(__file__).parents[1] / "benchmarks/results/eval/summary.json"


def write(path, document=None, size=SIZE, channels=6, finite=True, batch="n", domain=""):
    """A model that averages its input channels; `size` and `batch` may be symbolic, a name."""
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    scale = numpy_helper.from_array(np.array(1.0 if finite else np.nan, np.float32), "scale")
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["logits"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, channels, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, size, size])],
        [axes, scale],
    )
    opsets = [helper.make_opsetid(name, 18 if not name else 1) for name in {"", domain}]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
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


def test_symbolic_sizes_and_a_fixed_batch_are_taken(tmp_path):
    document = json.dumps(good())
    batch = np.random.default_rng(0).random((5, 6, SIZE, SIZE), np.float32)
    for batch_dimension, size in (("n", "s"), (2, SIZE), (8, "s"), (1, SIZE)):
        path = write(tmp_path / "m.onnx", document, size=size, batch=batch_dimension)
        predictor = load_predictor(path)
        predictor.warm_up()
        np.testing.assert_allclose(predictor.predict(batch), batch.mean(1), rtol=1e-5)
        other = batch[:, :, : SIZE // 2, : SIZE // 2]
        if size == "s":
            np.testing.assert_allclose(predictor.predict(other), other.mean(1), rtol=1e-5)
        else:
            with pytest.raises(BundleError, match="takes 64 pixels, not 32"):
                predictor.predict(other)


def test_an_operator_that_there_is_not_is_refused_by_name(tmp_path):
    path = write(tmp_path / "m.onnx", json.dumps(good()), domain="com.acme")
    with pytest.raises(BundleError, match=r"operator.*com\.acme:Mul"):
        load_predictor(path)
    model = onnx.load(write(path, json.dumps(good())))
    model.graph.node[0].op_type = "Segment"
    onnx.save(model, str(path))
    with pytest.raises(BundleError, match=r"operator.*Segment"):
        load_predictor(path)


def test_a_graph_that_fails_when_it_runs_fails_its_warm_up(tmp_path):
    model = onnx.load(write(tmp_path / "m.onnx", json.dumps(good()), size="s"))
    model.graph.node.insert(0, helper.make_node("Reshape", ["input", "shape"], ["flat"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 6, 64, 64]), "shape"))
    model.graph.node[1].input[0] = "flat"
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(BundleError, match="first prediction failed"):
        load_predictor(tmp_path / "m.onnx").warm_up()


# ---- the seal


def test_a_seal_changes_nothing_but_is_there(tmp_path):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    plain = path.read_bytes()
    before = read_bundle(path)
    assert (before.sealed, before.sha256) == (False, hashlib.sha256(plain).hexdigest())
    assert seal_file(path) == before.sha256
    sealed = read_bundle(path)
    assert (sealed.sealed, sealed.sha256, sealed.metadata) == (True, before.sha256, metadata())
    assert seal(path.read_bytes()) == path.read_bytes()  # again: the same
    model = onnx.load(str(path))  # for other readers one entry among many
    onnx.checker.check_model(model)
    assert {p.key: p.value for p in model.metadata_props}[SEAL_KEY] == before.sha256
    assert model.SerializeToString() == path.read_bytes()
    del model.metadata_props[1:]
    assert model.SerializeToString() == plain


@pytest.mark.slow
def test_no_changed_byte_of_a_sealed_bundle_goes_unnoticed(tmp_path):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    seal_file(path)
    data = path.read_bytes()
    batch = np.random.default_rng(0).random((1, 6, SIZE, SIZE), np.float32)
    expected = load_predictor(path).predict(batch)
    unharmed = []
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with contextlib.suppress(BundleError):
            unharmed.append(load_predictor(path))
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with contextlib.suppress(BundleError):
            unharmed.append(load_predictor(path))
    # What is left: the seal's key was hit, or the seal was cut off; all else is whole.
    assert len(unharmed) <= len(SEAL_KEY) + 3
    for predictor in unharmed:
        assert predictor.metadata == metadata()
        np.testing.assert_array_equal(predictor.predict(batch), expected)


def test_a_changed_weight_is_noticed_and_can_be_sealed_again(tmp_path):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    seal_file(path)
    model = onnx.load(str(path))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32(2.0), "scale"))
    onnx.save(model, str(path))
    with pytest.raises(BundleError, match=r"wrong hash.*models seal"):
        load_predictor(path)
    seal_file(path)
    assert load_predictor(path).predict(np.ones((1, 6, SIZE, SIZE), np.float32)).mean() == 2.0


def test_a_hash_file_beside_a_bundle_counts(tmp_path):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    beside = tmp_path / "m.onnx.sha256"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest().upper()}  m.onnx\n")
    load_predictor(path)
    beside.write_text(f"{'0' * 64}  m.onnx\n")
    with pytest.raises(BundleError, match=r"m\.onnx: wrong hash.*m\.onnx\.sha256"):
        load_predictor(path)
    beside.write_text("not a hash")
    with pytest.raises(BundleError, match="holds no SHA-256"):
        load_predictor(path)


def test_sealing_what_is_not_a_bundle_leaves_it_alone(tmp_path):
    path = tmp_path / "m.onnx"
    for content in (b"", b"not a model", write(path).read_bytes()):
        path.write_bytes(content)
        with pytest.raises(BundleError):
            seal_file(path)
        assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@given(st.binary(max_size=200))
@example(b"\x3a\x00" + b"\x72\x00")
@example(b"\xff" * 20)
def test_any_bytes_are_refused_with_a_reason(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"any\.onnx"):
        read_bundle(path)


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


@pytest.mark.parametrize(
    ("name", "method"),
    [("default", "fcn-cut"), ("accurate", "accurate-cut"), ("fcn8s-mobilenet", "fcn8s-cut")],
)
def test_packaged_models_say_the_accuracy_of_the_published_run(name, method):
    published = {
        f"{result['dataset']}@{100 * result['target_iou']:.0f}": result["mean_clicks"]
        for result in json.loads(SUMMARY.read_text())["results"]
        if result["method"] == method
    }
    said = read_bundle(bundled_models()[name]).metadata.accuracy
    assert len(said) == 4
    assert said == pytest.approx({key: published[key] for key in said}, abs=0.0051)


def test_the_packaged_models_fit_into_a_package():
    assert {"default", "accurate", "fcn8s-mobilenet"} <= bundled_models().keys()
    assert sum(path.stat().st_size for path in bundled_models().values()) <= 40e6


def test_the_accurate_model_is_chosen_by_name_and_asks_the_network_more_often():
    region = read_bundle(bundled_models()["accurate"]).metadata.region
    assert region.mirror
    assert region.refine > 0
    with clickcut.open(picture(), model="accurate") as session:
        assert session.model == "accurate"
        assert session.click(53, 60)[60, 53]
