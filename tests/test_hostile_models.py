"""Models made to do harm end in one line, and in bounded time and memory."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from fakes import metadata
from onnx import TensorProto, helper, numpy_helper
from plans import describe
from test_bundle import good, write

from clickcut.backends import load_predictor
from clickcut.backends.probe import probe
from clickcut.bundle import METADATA_KEY, parse_metadata
from clickcut.bundle.file import MAX_FIELDS, read_bundle, seal_file
from clickcut.bundle.plan import read_plan, sidecar_of
from clickcut.bundle.wire import encoded_bytes
from clickcut.cli import main
from clickcut.errors import BundleError, printable
from clickcut.server.model_registry import Models
from clickcut.server.settings import Settings


def changed(path, change):
    """A good bundle with something done to it."""
    model = onnx.load(str(write(path, json.dumps(good()))))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def append(model, nodes, constants=()):
    """Put nodes behind the output; the last one makes `replaced`, the new output."""
    for name, value in constants:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    model.graph.node.extend(nodes)
    model.graph.output[0].name = "replaced"


# ---- what a graph may not hold


def loop(model):
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["more_out"]),
            helper.make_node("Identity", ["carried"], ["carried_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("k", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("more_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["times", "go", "logits"], ["replaced"], body=body)
    append(model, [node], [("times", np.int64(2**62)), ("go", np.bool_(True))])


def within_branches(change, depth=1):
    """The same within branches of an `If`."""

    def inner(model):
        change(model)
        nodes, tensors = list(model.graph.node), list(model.graph.initializer)
        del model.graph.node[:], model.graph.initializer[:]
        branch = helper.make_graph(nodes, "branch", [], list(model.graph.output), tensors)
        for k in range(depth):
            condition = numpy_helper.from_array(np.bool_(True), f"condition{k}")
            branch.initializer.append(condition)
            branch = helper.make_graph(
                [
                    helper.make_node(
                        "If",
                        [f"condition{k}"],
                        ["replaced"],
                        then_branch=branch,
                        else_branch=branch if k == 0 else helper.make_graph([], "none", [], []),
                    )
                ],
                "branch",
                [],
                list(model.graph.output),
                [condition],
            )
        model.graph.node.extend(branch.node)
        model.graph.initializer.extend(branch.initializer)

    return inner


def external(model):
    tensor = model.graph.initializer[1]
    onnx.external_data_helper.set_external_data(tensor, "elsewhere.bin")
    tensor.ClearField("raw_data")
    append(model, [helper.make_node("Identity", ["logits"], ["replaced"])])


def external_in_attribute(model):
    tensor = TensorProto(dims=[1], data_type=TensorProto.FLOAT, name="hidden")
    tensor.data_location = TensorProto.EXTERNAL
    append(
        model,
        [
            helper.make_node("Constant", [], ["hidden"], value=tensor),
            helper.make_node("Add", ["logits", "hidden"], ["replaced"]),
        ],
    )


def external_in_sparse(model):
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name = "sparse"
    entry = sparse.values.external_data.add()
    entry.key, entry.value = "location", "elsewhere.bin"


def function(model):
    made = model.functions.add()
    made.name, made.domain = "double", "mine"


def scan(model):
    append(model, [helper.make_node("Scan", ["logits"], ["replaced"], num_scan_inputs=1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (loop, r"repeats a part of itself \(operator Loop\).*without loops"),
        (within_branches(loop), r"operator Loop"),
        (scan, r"operator Scan"),
        (external, r"tensor 'scale' lie in another file.*without external data"),
        (within_branches(external), r"tensor 'scale' lie in another file"),
        (external_in_attribute, r"tensor 'hidden' lie in another file"),
        (external_in_sparse, r"tensor 'sparse' lie in another file"),
        (within_branches(loop, 12), r"more than 8 deep"),
        (function, r"local functions"),
        (lambda model: model.training_info.add(), r"training graph"),
    ],
)
def test_a_graph_that_a_bundle_must_not_have_is_refused(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere.bin").write_bytes(np.float32(1).tobytes())
    path = changed(tmp_path / "m.onnx", change)
    with pytest.raises(BundleError, match=rf"^.*m\.onnx: .*{message}") as raised:
        load_predictor(path)
    assert "\n" not in str(raised.value)


def test_a_branch_is_allowed(tmp_path):
    def plain(model):
        append(model, [helper.make_node("Identity", ["logits"], ["replaced"])])

    path = changed(tmp_path / "m.onnx", within_branches(plain))
    batch = np.random.default_rng(0).random((1, 6, 64, 64), np.float32)
    np.testing.assert_allclose(load_predictor(path).predict(batch), batch.mean(1), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tag", "message"),
    [(b"\x08\x01", "too many fields"), (b"\x72\x00", "more than 64 entries of metadata")],
)
def test_more_fields_than_a_bundle_has_are_not_read(tmp_path, tag, message):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x3a\x00" + tag * (MAX_FIELDS + 1))
    with pytest.raises(BundleError, match=message):
        read_bundle(path)
    with pytest.raises(BundleError, match=message):
        seal_file(path)


# ---- what only shows when it runs


def much_memory(model):
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["logits", "sum"], ["replaced"]),
    ]
    append(model, nodes, [("shape", np.array([2**17, 2**15]))])  # 16 GiB


def much_time(model):
    nodes = [
        helper.make_node("Unsqueeze", ["logits", "axes"], ["m"]),
        helper.make_node("Tile", ["m", "repeats"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{k}", "m0"], [f"m{k + 1}"]) for k in range(400)),
        helper.make_node("ReduceMax", ["m400"], ["max"], keepdims=0),
        helper.make_node("Add", ["logits", "max"], ["replaced"]),
    ]
    append(model, nodes, [("repeats", np.array([1, 1, 60, 60]))])


@pytest.mark.slow
def test_a_model_that_takes_for_ages_is_stopped(tmp_path):
    path = changed(tmp_path / "m.onnx", much_time)
    with pytest.raises(BundleError, match=r"m\.onnx: its first prediction does not end within 3 s"):
        probe(path, seconds=3)


def test_a_model_that_takes_all_memory_is_stopped(tmp_path):
    with pytest.raises(BundleError, match=r"memory|first prediction failed"):
        probe(changed(tmp_path / "m.onnx", much_memory))


def test_a_model_that_breaks_the_process_that_loads_it_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), 11)")
    with pytest.raises(BundleError, match=r"m\.onnx: .*ended with signal 11"):
        probe(path)


def test_a_good_model_and_those_of_the_package_pass(tmp_path, default_bundle, monkeypatch):
    probe(write(tmp_path / "m.onnx", json.dumps(good())))
    monkeypatch.setattr("clickcut.backends.probe.subprocess", None)
    probe(default_bundle)


def test_verify_and_a_server_probe_first(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "m.onnx", json.dumps(good()))

    def endless(probed):
        raise BundleError(f"{probed}: does not end")

    monkeypatch.setattr("clickcut.backends.probe.probe", endless)
    monkeypatch.setattr("clickcut.server.model_registry.probe", endless)
    monkeypatch.setattr("clickcut.backends.load_predictor", None)
    monkeypatch.setattr("clickcut.server.model_registry.load_predictor", None)
    monkeypatch.setattr("sys.argv", ["clickcut", "models", "verify", str(path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert f"BAD  {path}: does not end" in capsys.readouterr().out
    with pytest.raises(BundleError, match="does not end"):
        Models(Settings(model=[str(path)]))


def test_outputs_that_are_no_float_tensor_are_refused(tmp_path):
    def sequence(model):
        append(model, [helper.make_node("SequenceConstruct", ["logits"], ["replaced"])])
        del model.graph.output[:]
        value = helper.make_tensor_sequence_value_info("replaced", TensorProto.FLOAT, None)
        model.graph.output.append(value)

    def double(model):
        append(model, [helper.make_node("Cast", ["logits"], ["replaced"], to=TensorProto.DOUBLE)])
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE

    for change in (sequence, double):
        with pytest.raises(BundleError, match=r"'replaced' of the graph is .*must be float32"):
            load_predictor(changed(tmp_path / "m.onnx", change))


# ---- metadata


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 2**40}, "input_size"),
        ({"input_size": 1e30}, "input_size"),
        ({"guidance": {"encoding": "disc", "radius": float("nan")}}, "guidance.radius"),
        ({"guidance": {"encoding": "disc", "radius": 2**70}}, "guidance.radius"),
        ({"pixel_scale": float("inf")}, "pixel_scale"),
        ({"pixel_scale": 1e-300}, "pixel_scale"),
        ({"pixel_offset": float("nan")}, "pixel_offset"),
        ({"region": {"zoom": True, "expansion": float("nan"), "min_side": 32}}, "expansion"),
        ({"region": {"zoom": True, "expansion": 1.4, "min_side": 2**62}}, "min_side"),
        ({"cut": good()["cut"] | {"cut_lambda": float("inf")}}, "cut.cut_lambda"),
        ({"cut": good()["cut"] | {"cut_sigma": 1e300}}, "cut.cut_sigma"),
        ({"cut": good()["cut"] | {"seed_radius": 1e9}}, "cut.seed_radius"),
        ({"cut": good()["cut"] | {"threshold": 1e-300}}, "cut.threshold"),
        ({"channels": ["red"] * 1000}, "channels"),
        ({"accuracy": {"x": float("nan")}}, "accuracy.x"),
        ({"accuracy": {str(k): 1.0 for k in range(1000)}}, "accuracy"),
        ({"training": {"samples": 10**4000}}, "training.samples"),
        ({"training": {"data": "x" * 5000}}, "training.data"),
        ({"training": {"x" * 200: 1}}, "training"),
        ({"version": "1\x1b[2J"}, "version: .*control characters"),
        ({"architecture": "a\nb"}, "architecture: .*control characters"),
        ({"architecture": "x" * 200}, "architecture"),
        ({"training": {"data": "\x07"}}, "training.data.*control characters"),
        ({"training": {"\u202e": "x"}}, r"training\.\\u202e.*control characters"),
        ({"metadata_version": "\x1b]0;x" * 5000}, r"metadata version '\\x1b"),
        ({"\x1b[31m": 1}, r"\\x1b\[31m: Extra"),
        ({f"surprise{k}": 1 for k in range(2000)}, r"and 1995 more"),
    ],
)
def test_metadata_out_of_bounds_is_refused_in_one_line(change, message):
    with pytest.raises(BundleError, match=message) as raised:
        parse_metadata(json.dumps(good() | change), "m.onnx")
    text = str(raised.value)
    assert text.isprintable()
    assert len(text) < 5000


@pytest.mark.parametrize("document", ["[" * 50_000, '{"a":' * 10_000, "9" * 10_000, "1e999999"])
def test_metadata_that_no_reader_likes_is_refused(document):
    with pytest.raises(BundleError, match=r"^m\.onnx: "):
        parse_metadata(document, "m.onnx")


def test_metadata_of_megabytes_is_refused(tmp_path):
    document = json.dumps(good())
    with pytest.raises(BundleError, match="characters, more than 65536"):
        load_predictor(write(tmp_path / "m.onnx", f"{document[:-1]}{' ' * 70_000}}}"))
    with pytest.raises(BundleError, match="more than 262144 bytes of metadata"):
        load_predictor(write(tmp_path / "m.onnx", document + " " * 30_000_000))
    path = write(tmp_path / "m.onnx", document)
    entry = encoded_bytes(1, b"other") + encoded_bytes(2, b"x" * 200_000)
    path.write_bytes(path.read_bytes() + 2 * encoded_bytes(14, entry))
    with pytest.raises(BundleError, match="more than 262144 bytes of metadata"):
        read_bundle(path)
    assert METADATA_KEY.encode() in path.read_bytes()


def test_the_description_of_a_plan_is_bounded_as_well(tmp_path):
    bundle = write(tmp_path / "m.onnx", json.dumps(good()))
    plan = tmp_path / "m.plan"
    plan.write_bytes(b"plan")
    describe(plan, bundle)
    text = sidecar_of(plan).read_text()
    assert read_plan(plan).metadata == metadata()
    for change in (
        {"version": "\x1b[2J"},
        {"compute_capabilities": ["8.9"] * 1000},
        {"profile": {"batch": [1, 1, 2**70], "size": [64, 64, 64]}},
        {"profile": {"batch": [1, 1, 1e400], "size": [64, 64, 64]}},
    ):
        raw = json.loads(text)
        raw["tensorrt"] |= change
        sidecar_of(plan).write_text(json.dumps(raw))
        with pytest.raises(BundleError, match=r"m\.plan\.json: ") as raised:
            read_plan(plan)
        assert str(raised.value).isprintable()
    raw = json.loads(text)
    raw["reference"] = {"ranges": [[0, 1]], "cells": "", "probability": ""}
    sidecar_of(plan).write_text(json.dumps(raw))
    with pytest.raises(BundleError, match="reference answer: it has 1 channels, not 6"):
        read_plan(plan)
    sidecar_of(plan).write_text("9" * 10_000)
    with pytest.raises(BundleError, match=r"m\.plan\.json: "):
        read_plan(plan)


def test_control_characters_of_file_names_do_not_reach_the_terminal(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a\x1b[2Jb\nc\udce9.onnx"
    monkeypatch.setattr("sys.argv", ["clickcut", "models", "inspect", str(path)])
    with pytest.raises(SystemExit):
        main()
    heard = capsys.readouterr().err
    assert r"a\x1b[2Jb" in heard
    assert heard.replace("\n", "").isprintable()


def test_text_is_made_printable():
    assert printable("é 日本 ok") == "é 日本 ok"
    assert printable("a\x1b[0m\n\u202e\udce9") == r"a\x1b[0m\n\u202e\udce9"
    assert printable("x" * 10, 4) == "xxxx..."
