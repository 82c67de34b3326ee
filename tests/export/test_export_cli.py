"""`clickcut export` as a person uses it: what it prints, writes and refuses."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from export_cases import data_folder, inputs, operators, tiny_bundle, tiny_graph
from fakes import metadata
from numpy.testing import assert_allclose, assert_array_equal
from onnx import helper, numpy_helper

from clickcut.backends import load_predictor
from clickcut.bundle.file import read_bundle
from clickcut.bundle.plan import read_plan
from clickcut.bundle.reference import make_reference
from clickcut.cli import main
from clickcut_export.graph import finish


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "tiny.onnx")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `clickcut export ...`; exit code, standard output, standard error."""

    def call(*args):
        monkeypatch.setattr("sys.argv", ["clickcut", "export", *map(str, args)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_a_file_that_is_no_checkpoint_ends_in_one_line(run, tmp_path):
    code, _, err = run("onnx", tmp_path / "none.pt", "-o", tmp_path / "x.onnx")
    assert code == 2
    assert err.startswith("clickcut: ")
    assert "none.pt" in err
    assert len(err.splitlines()) == 1


def test_notes_that_are_no_json_are_named(run, tmp_path):
    (tmp_path / "notes").write_text("[1]")
    code, _, err = run(
        "onnx", tmp_path / "a.pt", "-o", tmp_path / "x.onnx", "--notes", tmp_path / "notes"
    )
    assert code == 2
    assert "one JSON object" in err


def test_int8_wants_data(run, bundle, tmp_path):
    code, _, err = run("quantize", bundle, "-o", tmp_path / "x.onnx")
    assert code == 2
    assert "--data" in err


def test_int8_prints_clicks_and_speed_and_writes_a_bundle(run, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("clickcut_export.commands.INT8", _anything())
    data, report = data_folder(tmp_path / "data", 8), tmp_path / "report.json"
    path = tmp_path / "int8.onnx"
    code, out, err = run(
        *("quantize", bundle, "-o", path, "--data", f"folder:{data}", "--objects", 8, "--limit", 1),
        *("--max-loss", 20, "--json", report),
    )
    assert code == 0, err
    assert "first 2 float: mean error" in out
    assert "held-out objects, clicks @85" in out
    assert "prediction, ms" in out
    assert "int8 " in out
    assert read_bundle(path).metadata.version == "1-int8"
    document = json.loads(report.read_text())
    assert document["clicks"][0]["after"]["objects"] == 1
    assert document["milliseconds"]["before"] > 0
    assert document["verdict"] in out.replace("\n", " ")


def test_int8_that_loses_clicks_is_not_written(run, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("clickcut_export.commands.INT8", _anything())
    data, path = data_folder(tmp_path / "data", 8), tmp_path / "int8.onnx"
    code, _, err = run(
        *("quantize", bundle, "-o", path, "--data", f"folder:{data}", "--objects", 8, "--limit", 1),
        *("--max-loss", -30, "--keep-float", "none"),
    )
    assert code == 2
    assert "Nothing was written" in err
    for way_out in ("--objects", "--keep-float", "--precision fp16", "--max-loss"):
        assert way_out in err
    assert not path.exists()


def test_fp16_needs_no_data(run, bundle, tmp_path):
    path = tmp_path / "fp16.onnx"
    code, out, err = run("quantize", bundle, "-o", path, "--precision", "fp16")
    assert code == 0, err
    assert "fp16 against float32 on this CPU, 5 inputs" in out
    assert read_bundle(path).metadata.training["precision"] == "fp16"


def test_a_plan_is_built_and_described(run, bundle, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx cannot be installed here")
    path = tmp_path / "tiny.plan"
    code, out, err = run(
        "tensorrt", bundle, "-o", path, "--flavour", "tensorrt_rtx", "--capability", "8.9"
    )
    assert code == 0, err
    assert "fp32, for compute capability 8.9; batch 1 to 8, best 1, size 64" in out
    assert "not run here" in out or "TensorRT against ONNX Runtime" in out
    assert read_plan(path).facts.compute_capabilities == ("8.9",)


def test_a_profile_that_is_none_is_named(run, bundle, tmp_path):
    code, _, err = run("tensorrt", bundle, "-o", tmp_path / "x.plan", "--batch", "1,2")
    assert code == 2
    assert "three whole numbers" in err


def _anything():
    from clickcut_export.parity import Tolerance

    return Tolerance(worst=1.0, mean=1.0, iou=0.0)


def test_metadata_are_changed_and_a_graph_of_today_is_not(run, bundle, tmp_path):
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({"accuracy": {"somewhere@90": 3.5}, "version": "8"}))
    path = tmp_path / "accurate.onnx"
    code, out, err = run(
        *("metadata", bundle, "-o", path, "--notes", notes, "--set", "name=accurate"),
        *("--set", "region.refine=0.5", "--set", "region.mirror=true", "--set", "version=9"),
    )
    assert code == 0, err
    assert "accurate.onnx: " in out
    before, after = read_bundle(bundle), read_bundle(path)
    assert after.sealed
    changes = {"name": "accurate", "version": "9", "accuracy": {"somewhere@90": 3.5}}
    region = before.metadata.region.model_copy(update={"refine": 0.5, "mirror": True})
    assert after.metadata == before.metadata.model_copy(update=changes | {"region": region})
    graphs = [onnx.load_model_from_string(b.data).graph for b in (before, after)]
    assert graphs[0] == graphs[1]
    again = tmp_path / "again.onnx"
    assert run("metadata", path, "-o", again)[0] == 0
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("region.refine", "write KEY=VALUE"),
        ("region.refine=2", "region.refine"),
        ("region.unknown=1", "region.unknown"),
        ("channels=[]", "cannot be changed"),
        ("input_size=100", "multiple of 32"),
        ("name=Not A Name", "name"),
        ("version.x=1", "has no parts"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(run, bundle, tmp_path, assignment, message):
    path = tmp_path / "x.onnx"
    code, _, err = run("metadata", bundle, "-o", path, "--set", assignment)
    assert code == 2
    assert message in err
    assert not path.exists()


def test_a_bundle_takes_another_input_size(run, bundle, tmp_path):
    path = tmp_path / "small.onnx"
    code, _, err = run("metadata", bundle, "-o", path, "--set", "input_size=32")
    assert code == 0, err
    assert read_bundle(path).metadata.input_size == 32
    # Every 3 x 3 convolution sees one pixel further: away from the edge both sizes agree.
    x = np.random.default_rng(0).random((1, 6, 64, 64), dtype=np.float32)
    large = load_predictor(bundle).predict(x)[:, :32, :32]
    small = load_predictor(path).predict(np.ascontiguousarray(x[:, :, :32, :32]))
    assert_allclose(small[:, :29, :29], large[:, :29, :29], atol=1e-5)
    back = tmp_path / "back.onnx"
    assert run("metadata", path, "-o", back, "--set", "input_size=64")[0] == 0
    assert_array_equal(load_predictor(back).predict(x), load_predictor(bundle).predict(x))


def test_a_graph_made_for_one_size_keeps_it(run, tmp_path):
    model = tiny_graph()
    shape = numpy_helper.from_array(np.array([-1, 64, 64]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node[-1].CopyFrom(helper.make_node("Reshape", ["c2", "shape"], ["logits"]))
    bundle, path = tmp_path / "fixed.onnx", tmp_path / "x.onnx"
    bundle.write_bytes(finish(model, metadata(input_size=64, name="fixed")))
    code, _, err = run("metadata", bundle, "-o", path, "--set", "input_size=32")
    assert code == 2
    assert "export the checkpoint again with --size 32" in err
    assert not path.exists()


def test_a_bundle_with_its_own_answer_keeps_its_size(run, bundle, tmp_path):
    reference = make_reference(inputs(1)[0], load_predictor(bundle))
    int8, path = tmp_path / "int8.onnx", tmp_path / "x.onnx"
    int8.write_bytes(finish(tiny_graph(), read_bundle(bundle).metadata, reference))
    code, _, err = run("metadata", int8, "-o", path, "--set", "input_size=32")
    assert code == 2
    assert "change the float bundle and quantize that" in err
    assert not path.exists()


def old_graph():
    """What an older exporter wrote: the guidance pooled, a score enlarged."""
    model = tiny_graph()
    part = [
        helper.make_node("Slice", ["input", "from", "to", "axis"], ["guidance"]),
        helper.make_node("AveragePool", ["guidance"], ["small"], kernel_shape=[4, 4]),
        helper.make_node("Conv", ["small", "mix"], ["again"]),
        helper.make_node("Resize", ["again", "", "scales"], ["large"], mode="linear"),
        helper.make_node("Add", ["c2", "large"], ["both"]),
        helper.make_node("Squeeze", ["both", "axis"], ["logits"]),
    ]
    part[1].attribute.append(helper.make_attribute("strides", [4, 4]))
    del model.graph.node[-1]
    model.graph.node.extend(part)
    for name, value in (
        ("from", np.array([3])),
        ("to", np.array([6])),
        ("mix", np.full((1, 3, 1, 1), 0.5, np.float32)),
        ("scales", np.array([1, 1, 4, 4], np.float32)),
    ):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def test_an_old_graph_is_rewritten_unless_it_is_int8(run, bundle, tmp_path):
    described, batch = read_bundle(bundle).metadata, inputs(1)[0]
    old, new = tmp_path / "old.onnx", tmp_path / "new.onnx"
    old.write_bytes(finish(old_graph(), described))
    assert run("metadata", old, "-o", new)[0] == 0
    assert {"AveragePool", "Slice"} & operators(old)
    assert not {"AveragePool", "Slice"} & operators(new)
    assert "Unsqueeze" in operators(new)
    graph = onnx.load(str(new)).graph
    assert {t.name for t in graph.initializer} <= {v for n in graph.node for v in n.input}
    expected = load_predictor(old).predict(batch)
    assert_allclose(load_predictor(new).predict(batch), expected, atol=1e-5)

    reference = make_reference(batch, load_predictor(old))
    old.write_bytes(finish(old_graph(), described, reference))
    assert run("metadata", old, "-o", new)[0] == 0
    assert operators(new) == operators(old)
