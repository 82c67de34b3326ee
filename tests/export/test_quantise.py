"""int8 and fp16: smaller, close to float32, and refused where they are not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_cases import inputs, tiny_bundle, tiny_graph
from onnx import numpy_helper

from clickcut.backends import load_predictor
from clickcut.bundle.file import read_bundle
from clickcut.bundle.reference import make_reference
from clickcut.errors import BundleError
from clickcut_export import to_int8
from clickcut_export.errors import ExportError, ParityError
from clickcut_export.graph import finish, load_graph
from clickcut_export.parity import Tolerance
from clickcut_export.to_fp16 import halve, to_half
from clickcut_export.to_int8 import behind_score, search

EMULATOR = "qemu-x86_64"
"""Runs a program on an emulated processor; Debian's package qemu-user has it."""

STRICT = Tolerance(worst=0.0, mean=0.0, iou=1.0)
RANDOM = Tolerance(worst=1.0, mean=0.03, iou=0.85)
"""For random weights, whose masks have no inside: all of them is outline."""


def quantise(*args, tolerance=RANDOM):
    return to_int8.quantise(*args, tolerance=tolerance)


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "tiny.onnx")


def constants(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.fixture
def run(tmp_path):
    """Runs a bundle as the engine does; logits."""

    def call(data, batch):
        model = onnx.load_model_from_string(data)
        ends = (*model.graph.input, *model.graph.output)
        assert {v.type.tensor_type.elem_type for v in ends} == {onnx.TensorProto.FLOAT}
        path = tmp_path / "run.onnx"
        path.write_bytes(data)
        return load_predictor(path).predict(batch)

    return call


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_int8_is_close_to_float(bundle, target, run):
    result = quantise(bundle, inputs(6), inputs(3, seed=1), [], target)
    assert 0 < result.parity.mean < 0.03
    assert result.parity.inputs == 3
    batch = np.concatenate(inputs(2, seed=2))
    logits = run(result.data, batch)
    expected = run(bundle.read_bytes(), batch)
    assert np.abs(logits - expected).mean() < 0.1 * expected.std()


def test_weights_are_quantised_by_channel_and_the_score_is_not(bundle):
    model = onnx.load_model_from_string(quantise(bundle, inputs(4), inputs(2), []).data)
    values = constants(model)
    assert values["w0_scale"].shape == (8,)
    assert values["w1_quantized"].dtype == np.int8
    assert values["w2"].dtype == np.float32
    assert {v.dtype for n, v in values.items() if n.endswith("r0_zero_point")} == {
        np.dtype("uint8")
    }


def test_weights_for_cpus_have_7_bits(bundle):
    """Two products with 8 bits fit into 16, so they cannot saturate on any processor."""
    for target, most in (("cpu", 64), ("tensorrt", 127)):
        data = quantise(bundle, inputs(4), inputs(2), [], target).data
        values = constants(onnx.load_model_from_string(data))
        weights = np.abs(values["w1_quantized"].astype(int))
        assert most - 1 <= weights.max() <= most


def test_an_int8_bundle_carries_the_answer_it_must_give(bundle, tmp_path):
    path = tmp_path / "int8.onnx"
    path.write_bytes(quantise(bundle, inputs(4), inputs(2), []).data)
    reference = read_bundle(path).reference
    assert reference is not None
    predictor = load_predictor(path)
    assert reference.difference(predictor.predict(reference.input(64))) < 1e-5
    assert read_bundle(bundle).reference is None


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_a_bundle_that_answers_otherwise_is_refused(bundle, tmp_path, target):
    """As where the arithmetic of the processor saturates."""
    path = tmp_path / "int8.onnx"
    path.write_bytes(quantise(bundle, inputs(4), inputs(2), [], target).data)
    model, metadata = load_graph(path)
    reference = make_reference(inputs(1)[0], load_predictor(path))
    for tensor in model.graph.initializer:
        if tensor.name == "w1_scale":
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.3, "w1_scale")
            )
    path.write_bytes(finish(model, metadata, reference))
    with pytest.raises(BundleError, match=r"int8\.onnx: .*wrongly on this machine.*float model"):
        load_predictor(path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"{EMULATOR} is not installed")
def test_int8_is_right_on_a_processor_without_vnni(bundle, tmp_path):
    """Emulated: first that the arithmetic saturates there, then what the engine makes of it."""
    batch = np.concatenate(inputs(2, seed=2))
    expected = load_predictor(bundle).predict(batch)
    np.savez(tmp_path / "batch.npz", batch=batch, expected=expected)
    for target in ("cpu", "tensorrt"):
        data = quantise(bundle, inputs(6), inputs(3, seed=1), [], target).data
        (tmp_path / f"{target}.onnx").write_bytes(data)
    script = Path(__file__).with_name("without_vnni.py")
    command = [EMULATOR, "-cpu", "Haswell", sys.executable, script, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["raw"]["tensorrt"] < 0.5  # the fault is there
    assert found["raw"]["cpu"] > 0.9
    assert found["engine"]["cpu"] == pytest.approx(found["raw"]["cpu"])
    assert found["engine"]["tensorrt"] > 0.9
    assert "wrongly on this machine" in found["refused"]


def test_tensorrt_gets_activations_around_0_and_float_biases(bundle):
    result = quantise(bundle, inputs(4), inputs(2), [], "tensorrt")
    values = constants(onnx.load_model_from_string(result.data))
    zeros = [v for n, v in values.items() if n.endswith("zero_point")]
    assert zeros
    assert all(v.dtype == np.int8 and not v.any() for v in zeros)
    assert values["b0"].dtype == np.float32


def test_layers_stay_float_when_asked_for(bundle):
    result = quantise(bundle, inputs(4), inputs(2), ["first"])
    values = constants(onnx.load_model_from_string(result.data))
    assert values["w0"].dtype == np.float32
    assert values["w1_quantized"].dtype == np.int8
    assert result.kept_float == ("first",)


def test_metadata_say_what_was_done(bundle, tmp_path):
    result = quantise(bundle, inputs(4), inputs(2), [])
    path = tmp_path / "int8.onnx"
    path.write_bytes(result.data)
    found = read_bundle(path)
    assert found.sealed
    assert found.metadata == result.metadata
    assert found.metadata.version == "1-int8"
    assert found.metadata.accuracy == {}
    assert found.metadata.training["precision"] == "int8"
    assert found.metadata.training["kept_float"] == "score"
    assert "4 inputs" in found.metadata.training["calibration"]


def test_the_same_inputs_give_the_same_bytes(bundle):
    one, two = (quantise(bundle, inputs(4), inputs(2), []).data for _ in range(2))
    assert one == two


def test_what_is_not_a_float_bundle_is_refused(bundle, tmp_path):
    path = tmp_path / "int8.onnx"
    path.write_bytes(quantise(bundle, inputs(4), inputs(2), []).data)
    with pytest.raises(ExportError, match="quantised already"):
        quantise(path, inputs(4), inputs(2), [])
    with pytest.raises(ExportError, match="holds DequantizeLinear"):
        halve(path, inputs(1))


def test_an_unknown_layer_and_empty_data_are_named(bundle):
    with pytest.raises(ExportError, match="no convolution third"):
        quantise(bundle, inputs(2), inputs(1), ["third"])
    with pytest.raises(ExportError, match="no click session"):
        quantise(bundle, [], inputs(1), [])


def test_too_far_from_float_is_refused(bundle):
    refused = r"int8 form of tiny.onnx is not accepted.*--keep-float.*--precision fp16"
    with pytest.raises(ParityError, match=refused):
        quantise(bundle, inputs(2), inputs(1), [], tolerance=STRICT)
    with pytest.raises(ParityError, match=r"fp16 form of tiny.onnx is not accepted"):
        halve(bundle, inputs(1), tolerance=STRICT)


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([1.0, 0.5, 0.4, 0.39, 0.39], 2),  # the third gains too little
        ([1.0, 0.99, 0.6, 0.6, 0.6], 2),  # the first alone gains nothing, both together do
        ([1.0, 1.0, 1.0, 1.0, 1.0], 0),
        ([1.0, 3.0, 3.0, 3.0, 0.1], 4),
    ],
)
def test_the_search_keeps_an_unbroken_run_that_pays(errors, kept):
    names = [f"conv{k}" for k in range(9)]

    def error(chosen):
        assert list(chosen) == names[: len(chosen)]
        return errors[len(chosen)]

    assert search(names, error) == names[:kept]


def test_the_score_and_what_follows_is_found():
    assert behind_score(tiny_graph()) == ["score", "squeeze"]


def test_fp16_computes_in_half_between_float_ends(bundle, run):
    result = halve(bundle, inputs(3))
    assert 0 < result.parity.worst < 0.1
    assert (result.metadata.version, result.metadata.training["precision"]) == ("1-fp16", "fp16")
    values = constants(onnx.load_model_from_string(result.data))
    assert {n: v.dtype for n, v in values.items()} == {
        "axis": np.dtype("int64"),
        **dict.fromkeys(("w0", "b0", "w1", "b1", "w2"), np.dtype("float16")),
    }
    assert len(result.data) < len(bundle.read_bytes())
    batch = np.concatenate(inputs(2, seed=3))
    np.testing.assert_allclose(run(result.data, batch), run(bundle.read_bytes(), batch), atol=0.05)


def test_a_weight_that_fp16_cannot_hold_is_named():
    model = tiny_graph()
    big = numpy_helper.from_array(np.full(8, 1e5, np.float32), "b1")
    model.graph.initializer[3].CopyFrom(big)
    with pytest.raises(ExportError, match="b1 is too large"):
        to_half(model, "model")
