"""Graphs are cleaned without changing what they compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from export_cases import inputs, tiny_graph
from fakes import metadata
from onnx import helper, numpy_helper

from clickcut.bundle.file import read_bundle
from clickcut_export.errors import ExportError, ParityError
from clickcut_export.graph import drop_empty_pads, finish, write_file
from clickcut_export.parity import FLOAT32, compare


def padded(pads):
    """`tiny_graph` with a padding behind its input, and everything that tools leave behind."""
    model = tiny_graph(symbolic=True)
    for node in model.graph.node:
        node.input[:] = ["padded" if v == "input" else v for v in node.input]
        node.doc_string = "/home/somebody/network.py"
    pads = numpy_helper.from_array(np.array(pads, np.int64), "pads")
    model.graph.initializer.append(pads)
    model.graph.node.insert(0, helper.make_node("Pad", ["input", "pads"], ["padded"], mode="edge"))
    entry = model.metadata_props.add()
    entry.key, entry.value = "tool", "x"
    return model


def run(model, batch):
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": batch})[0]


def test_padding_by_nothing_goes_and_real_padding_stays():
    (batch,) = inputs(1)
    model = padded([0] * 8)
    before = run(model, batch)
    assert drop_empty_pads(model) == 1
    assert "Pad" not in {n.op_type for n in model.graph.node}
    np.testing.assert_array_equal(run(model, batch), before)
    assert drop_empty_pads(padded([0, 0, 1, 1, 0, 0, 1, 1])) == 0


def test_a_finished_bundle_holds_the_graph_its_metadata_and_nothing_else(tmp_path):
    model = padded([0] * 8)
    drop_empty_pads(model)
    data = finish(model, metadata())
    assert data == finish(model, metadata())
    path = tmp_path / "m.onnx"
    write_file(path, data)
    found = read_bundle(path)
    assert found.sealed
    assert found.metadata == metadata()
    whole = onnx.load(str(path))
    assert {p.key for p in whole.metadata_props} == {"clickcut", "clickcut_sha256"}
    assert b"somebody" not in data
    assert "pads" not in {t.name for t in whole.graph.initializer}


def test_an_invalid_graph_is_refused():
    model = tiny_graph()
    model.graph.node[1].input[0] = "nothing makes this"
    with pytest.raises(ExportError, match="not valid ONNX"):
        finish(model, metadata())


def test_a_file_is_whole_or_not_there(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="cannot be written"):
        write_file(tmp_path / "file" / "model.onnx", b"data")
    write_file(tmp_path / "new" / "model.onnx", b"data")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["model.onnx"]


def test_parity_measures_what_it_says():
    batches = [np.zeros((1, 6, 2, 2), np.float32)] * 2
    a = np.array([[[4.0, -4.0], [4.0, -4.0]]], np.float32)
    b = np.array([[[4.0, -4.0], [-4.0, -4.0]]], np.float32)
    far = 1 / (1 + np.exp(-4)) - 1 / (1 + np.exp(4))
    parity = compare(lambda _: a, lambda _: b, batches)
    assert parity.inputs == 2
    assert parity.worst == pytest.approx(far, rel=1e-5)
    assert parity.mean == pytest.approx(far / 4, rel=1e-5)
    assert parity.iou == parity.least_iou == 0.5
    same = compare(lambda _: a, lambda _: a, batches)
    same.check(FLOAT32, "it")
    with pytest.raises(ParityError, match="Nothing was written"):
        parity.check(FLOAT32, "it")
    with pytest.raises(ParityError):
        compare(lambda _: a, lambda _: a * np.nan, batches).check(FLOAT32, "it")
    with pytest.raises(ParityError, match="shape"):
        compare(lambda _: a, lambda _: a[:, :1], batches)
