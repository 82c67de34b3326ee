"""Plans: really parsed and built by tensorrt-rtx, which needs no GPU for it."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import onnx
import pytest
from export_cases import inputs, tiny_bundle, tiny_graph
from fakes import metadata
from onnx import helper

from clickcut.backends import load_predictor
from clickcut.bundle.plan import read_plan
from clickcut.errors import BackendError, BundleError
from clickcut_export import to_int8
from clickcut_export.errors import ExportError
from clickcut_export.graph import finish
from clickcut_export.parity import FLOAT16, Tolerance, compare
from clickcut_export.to_fp16 import halve
from clickcut_export.to_tensorrt import CAPABILITIES, PlanOptions, build_plan, load_flavour

RTX = PlanOptions(flavour="tensorrt_rtx")
ANYTHING = Tolerance(worst=1.0, mean=1.0, iou=0.0)


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "tiny.onnx")


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx cannot be installed here")


def int8(bundle, target):
    path = bundle.with_name("int8.onnx")
    found = to_int8.quantise(bundle, inputs(4), inputs(2), [], target, tolerance=ANYTHING)
    path.write_bytes(found.data)
    return path


def fp16(bundle):
    path = bundle.with_name("fp16.onnx")
    path.write_bytes(halve(bundle, inputs(1)).data)
    return path


@pytest.mark.parametrize(
    ("precision", "convert"),
    [("fp32", lambda b: b), ("fp16", fp16), ("int8", lambda b: int8(b, "tensorrt"))],
)
def test_a_plan_is_built_with_its_description(rtx, bundle, precision, convert):
    path = bundle.with_name("tiny.plan")
    description = build_plan(convert(bundle), path, RTX)
    plan = read_plan(path)
    assert plan.facts == description.tensorrt
    assert plan.facts.precision == precision
    assert plan.facts.flavour == "tensorrt_rtx"
    assert plan.facts.version == rtx.__version__
    assert plan.facts.compute_capabilities == CAPABILITIES
    assert plan.facts.plan_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (plan.facts.profile.batch, plan.facts.profile.size) == ((1, 1, 8), (64, 64, 64))
    assert plan.metadata.name == "tiny"
    assert len(plan.data) > 1000


def test_profile_and_gpus_are_as_asked_for(rtx, tmp_path):
    bundle = tiny_bundle(tmp_path / "open.onnx", symbolic=True)
    options = PlanOptions((1, 2, 4), (32, 64, 128), ("7.5", "8.9"), "tensorrt_rtx")
    build_plan(bundle, tmp_path / "open.plan", options)
    facts = read_plan(tmp_path / "open.plan").facts
    assert (facts.profile.batch, facts.profile.size) == ((1, 2, 4), (32, 64, 128))
    assert facts.compute_capabilities == ("7.5", "8.9")


def test_a_static_batch_is_the_profile(rtx, tmp_path):
    bundle = tiny_bundle(tmp_path / "static.onnx", batch=2)
    build_plan(bundle, tmp_path / "static.plan", RTX)
    assert read_plan(tmp_path / "static.plan").facts.profile.batch == (2, 2, 2)


def unsupported(tmp_path):
    """A bundle with an operator that no library knows."""
    model = tiny_graph()
    model.graph.node[1].op_type, model.graph.node[1].domain = "Mystery", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = tmp_path / "mystery.onnx"
    path.write_bytes(finish(model, metadata()))
    return path


def test_a_graph_that_tensorrt_does_not_take_is_refused_by_operator(rtx, tmp_path):
    path = tmp_path / "mystery.plan"
    with pytest.raises(ExportError, match=r"does not take the graph of .*mystery.onnx.*Mystery"):
        build_plan(unsupported(tmp_path), path, RTX)
    assert not path.exists()


def test_int8_for_cpus_is_refused(rtx, bundle, tmp_path):
    with pytest.raises(ExportError, match="--target tensorrt"):
        build_plan(int8(bundle, "cpu"), tmp_path / "x.plan", RTX)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PlanOptions(capabilities=("9.9",), flavour="tensorrt_rtx"), r"9.9.* builds for .*8.9"),
        (PlanOptions(size=(64, 64, 128), flavour="tensorrt_rtx"), "--dynamic"),
        (PlanOptions(size=(96, 96, 96), flavour="tensorrt_rtx"), "own 64"),
        (PlanOptions(size=(50, 64, 70), flavour="tensorrt_rtx"), "multiple of 32"),
        (PlanOptions(batch=(4, 2, 8), flavour="tensorrt_rtx"), "batch"),
        (PlanOptions(flavour="tensorflow"), "unknown"),
    ],
)
def test_options_that_do_not_fit_are_named(rtx, bundle, tmp_path, options, message):
    path = tmp_path / "x.plan"
    with pytest.raises(ExportError, match=message):
        build_plan(bundle, path, options)
    assert not path.exists()


def test_a_timing_cache_is_not_for_rtx(rtx, bundle, tmp_path):
    options = PlanOptions(flavour="tensorrt_rtx", timing_cache=tmp_path / "cache")
    with pytest.raises(ExportError, match="timing-cache"):
        build_plan(bundle, tmp_path / "x.plan", options)


def test_without_tensorrt_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(ExportError, match=r"tensorrt or tensorrt-rtx .*pip install"):
        load_flavour(None)


def test_what_is_no_bundle_is_refused(tmp_path):
    path = tmp_path / "plain.onnx"
    onnx.save(tiny_graph(), str(path))
    with pytest.raises(BundleError, match="not a clickcut bundle"):
        build_plan(path, tmp_path / "x.plan", RTX)


def test_a_plan_says_the_same_as_onnx_runtime(rtx, default_bundle, tmp_path):
    """Runs where there is a GPU."""
    path = tmp_path / "default.plan"
    build_plan(default_bundle, path, RTX)
    try:
        on_gpu = load_predictor(path, backend="tensorrt")
    except BackendError as error:
        pytest.skip(f"the plan cannot run here: {error}")
    on_cpu = load_predictor(default_bundle)
    size = on_cpu.metadata.input_size
    batch = [np.concatenate(inputs(3, size=size))]
    compare(on_cpu.predict, on_gpu.predict, batch).check(FLOAT16, "the plan")
