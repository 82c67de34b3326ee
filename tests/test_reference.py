"""The answer that a model carries: made, kept in bounds, and compared."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from fakes import FakePredictor, metadata
from test_bundle import good, write

from clickcut.backends import load_predictor
from clickcut.bundle import METADATA_KEY
from clickcut.bundle.file import read_bundle
from clickcut.bundle.reference import GRID, REFERENCE_KEY, make_reference, parse_reference
from clickcut.errors import BundleError


def batch():
    rng = np.random.default_rng(0)
    out = rng.uniform(-2, 2, (1, 6, 64, 64)).astype(np.float32)
    out[:, 3:5] = 0
    out[0, 3, 17, 30] = 1
    return out


@pytest.fixture
def reference():
    return make_reference(batch(), FakePredictor())


def document(reference, **changes):
    return json.dumps(reference.model_dump() | changes)


def test_a_network_gives_its_own_answer_again_and_another_does_not(reference):
    network = FakePredictor()
    given = reference.input(64)
    assert given.shape == (1, 6, 64, 64)
    assert given.dtype == np.float32
    logits = network.predict(given)
    assert reference.difference(logits) < 1e-5  # 16 bits of probability
    assert reference.difference(-logits) > 0.5
    assert reference.difference(logits * 1e9) <= 1  # and no overflow


def test_the_input_is_close_to_the_one_that_was_given(reference):
    given, cell = batch(), 64 // GRID
    kept = reference.input(64)[0, :, cell // 2 :: cell, cell // 2 :: cell]
    wanted = given[0, :, cell // 2 :: cell, cell // 2 :: cell]
    np.testing.assert_allclose(kept[[0, 1, 2, 5]], wanted[[0, 1, 2, 5]], atol=4 / 255)
    assert kept[3, 17 // cell, 30 // cell] == 1  # a click between the middles is not lost
    assert kept[3].sum() == 1
    assert not kept[4].any()


def test_it_comes_back_from_its_document(reference):
    text = document(reference)
    assert len(text) < 4096
    assert parse_reference(text, metadata(), "m.onnx") == reference


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"cells": "*"}, "base64|Only"),
        ({"cells": base64.b64encode(b"123").decode()}, "reshape"),
        ({"cells": "A" * 10**5}, "bytes, more than"),
        ({"probability": ""}, "reshape"),
        ({"probability": base64.b64encode(b"1").decode()}, "size"),
        ({"ranges": [[0, 1]] * 5}, "5 channels, not 6"),
        ({"ranges": [[0, 1]] * 7}, "ranges"),
        ({"ranges": [[0, float("nan")]] * 6}, "ranges"),
        ({"ranges": [[0, 1e300]] * 6}, "ranges"),
        ({"ranges": [[0, 10**400]] * 6}, "ranges|reference answer"),
    ],
)
def test_one_that_is_wrong_is_refused(reference, change, message):
    with pytest.raises(BundleError, match=rf"^m\.onnx: .*({message})"):
        parse_reference(document(reference, **change), metadata(), "m.onnx")


def test_what_is_no_json_is_refused():
    for text in ("", "[]", "{", "[" * 10**4):
        with pytest.raises(BundleError, match="reference answer"):
            parse_reference(text, metadata(), "m.onnx")


def add(path, *documents):
    """Put reference answers into a bundle."""
    import onnx

    model = onnx.load(str(path))
    for text in documents:
        entry = model.metadata_props.add()
        entry.key, entry.value = REFERENCE_KEY, text
    onnx.save(model, str(path))
    assert METADATA_KEY in {p.key for p in model.metadata_props}
    return path


def test_a_bundle_is_loaded_only_if_it_gives_its_answer(tmp_path):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    right = make_reference(batch(), load_predictor(path))
    add(path, document(right))
    assert read_bundle(path).reference == right
    load_predictor(path)
    path = write(tmp_path / "other.onnx", json.dumps(good()))
    add(path, document(make_reference(batch(), FakePredictor())))
    with pytest.raises(BundleError, match=r"other\.onnx: onnxruntime-cpu computes it wrongly"):
        load_predictor(path)
    path = write(tmp_path / "nan.onnx", json.dumps(good()), finite=False)
    with pytest.raises(BundleError, match="not finite"):
        load_predictor(add(path, document(right)))


def test_two_answers_are_refused(tmp_path, reference):
    path = write(tmp_path / "m.onnx", json.dumps(good()))
    with pytest.raises(BundleError, match="holds 2 entries 'clickcut_reference'"):
        read_bundle(add(path, document(reference), document(reference)))
