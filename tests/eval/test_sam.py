"""SAM-style pairs: tiny ONNX models with SAM's names, whose output shows what they were given."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from fakes import picture
from onnx import TensorProto, helper, numpy_helper

from clickcut_eval.errors import MethodError
from clickcut_eval.methods.sam import MEAN, STD, Sam

SIDE, LOW = 64, 16
FLOAT = TensorProto.FLOAT


def value(name, shape):
    return helper.make_tensor_value_info(name, FLOAT, shape)


def save(path, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        outputs,
        [numpy_helper.from_array(np.asarray(v), n) for n, v in dict(constants).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def pair(tmp_path):
    """Encoder: the identity. Decoder: a mask per candidate from the resized red channel.

    Candidate 1 is the red channel itself, candidate 0 has 100 added, so that all is selected; the
    sign of the sum of labels decides which score is higher. The low-resolution masks hold the sum
    of all coordinates, and the next prediction is shifted by the mean of what comes back.
    """
    encoder = save(
        tmp_path / "encoder.onnx",
        [helper.make_node("Identity", ["image"], ["image_embeddings"])],
        [value("image", [1, 3, SIDE, SIDE])],
        [value("image_embeddings", [1, 3, SIDE, SIDE])],
    )
    n = helper.make_node
    decoder = save(
        tmp_path / "decoder.onnx",
        [
            n("Slice", ["image_embeddings", "zero", "one", "axis1"], ["red"]),
            n("Shape", ["image_embeddings"], ["dims"]),
            n("Slice", ["dims", "zero", "two"], ["batch"]),
            n("Cast", ["orig_im_size"], ["size"], to=TensorProto.INT64),
            n("Slice", ["batch", "zero", "one"], ["first"]),
            n("Concat", ["first", "one", "size"], ["target"], axis=0),
            n("Resize", ["red", "", "", "target"], ["large"], mode="nearest"),
            n("ReduceMean", ["mask_input"], ["carried"], keepdims=0),
            n("Mul", ["carried", "has_mask_input"], ["used"]),
            n("Add", ["large", "used"], ["second"]),
            n("Add", ["second", "hundred"], ["everything"]),
            n("Concat", ["everything", "second"], ["masks"], axis=1),
            n("ReduceSum", ["point_labels"], ["sum"], keepdims=0),
            n("Neg", ["sum"], ["negated"]),
            n("Unsqueeze", ["sum", "zero"], ["a"]),
            n("Unsqueeze", ["negated", "zero"], ["b"]),
            n("Concat", ["a", "b"], ["scores"], axis=0),
            n("Unsqueeze", ["scores", "zero"], ["iou_predictions"]),
            n("ReduceSum", ["point_coords"], ["places"], keepdims=0),
            n("Mul", ["mask_input", "nought"], ["blank"]),
            n("Add", ["blank", "places"], ["lowered"]),
            n("Concat", ["lowered", "lowered"], ["low_res_masks"], axis=1),
        ],
        [
            value("image_embeddings", [1, 3, SIDE, SIDE]),
            value("point_coords", [1, "n", 2]),
            value("point_labels", [1, "n"]),
            value("mask_input", [1, 1, LOW, LOW]),
            value("has_mask_input", [1]),
            value("orig_im_size", [2]),
        ],
        [
            value("masks", [1, 2, "h", "w"]),
            value("iou_predictions", [1, 2]),
            value("low_res_masks", [1, 2, LOW, LOW]),
        ],
        {
            "zero": np.array([0], np.int64),
            "one": np.array([1], np.int64),
            "two": np.array([2], np.int64),
            "axis1": np.array([1], np.int64),
            "hundred": np.float32(100),
            "nought": np.float32(0),
        },
    )
    return encoder, decoder


def test_image_points_and_last_mask_reach_the_models(pair):
    sam = Sam(*pair)
    pixels = picture(SIDE, SIDE)
    for _ in range(2):  # a new image forgets points and mask
        sam.set_image(pixels)
        assert not sam.mask.any()
        red = (pixels[..., 0] - MEAN[0]) / STD[0]
        # One negative point: the second candidate has the better score.
        sam.add_click(10, 20, False)
        np.testing.assert_array_equal(sam.mask, red > 0)
        np.testing.assert_allclose(sam.probability, 1 / (1 + np.exp(-red)), atol=1e-5)
        # The next prediction is shifted by the sum of all coordinates of the last: 10.5 + 20.5.
        sam.add_click(5, 6, False)
        expected = red + 31.0
        np.testing.assert_allclose(sam.probability, 1 / (1 + np.exp(-expected)), atol=1e-5)
        sam.add_click(5, 7, True)
        sam.add_click(5, 8, True)
        sam.add_click(5, 9, True)
        assert sam.mask.all()


def test_other_shapes_are_scaled_to_the_longer_side(pair):
    sam = Sam(*pair)
    sam.set_image(picture(2 * SIDE, SIDE))
    sam.add_click(21, 9, False)
    assert sam.mask.shape == (SIDE, 2 * SIDE)
    # (21.5 + 9.5) at half the scale, as the low-resolution mask tells.
    assert float(sam._last.mean()) == pytest.approx(15.5)


def test_files_that_are_no_sam_models(pair, tmp_path):
    encoder, decoder = pair
    with pytest.raises(MethodError, match="not an ONNX model"):
        Sam(tmp_path / "none.onnx", decoder)
    with pytest.raises(MethodError, match=r"encoder takes one image \(1, 3, S, S\)"):
        Sam(decoder, decoder)
    with pytest.raises(MethodError, match="a SAM decoder takes has_mask_input"):
        Sam(encoder, encoder)
