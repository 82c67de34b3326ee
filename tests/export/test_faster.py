"""Rewritten graphs compute the same as before."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from export_cases import operators, write_random
from onnx import TensorProto, helper, numpy_helper

from clickcut_export.faster import enlarge_plain_maps, faster_on_cpu, pool_by_convolution
from clickcut_export.to_onnx import OnnxOptions, export_onnx

RNG = np.random.default_rng(3)


def graph(nodes, output, **constants):
    """A checked graph: input (batch, 6, 32, 48) -> `output`."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 6, 32, 48])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, list("nchw"))],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model


def run(model):
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    batch = np.random.default_rng(0).standard_normal((2, 6, 32, 48)).astype(np.float32)
    return session.run(None, {"input": batch})[0]


def pooled(start=3, end=2**63 - 1, axis=1, steps=None, **changes):
    """A slice of the input and its pooling, both without names, which ONNX allows."""
    attributes = {"kernel_shape": [4, 4], "strides": [4, 4]} | changes
    constants = {"start": start, "end": end, "axis": axis, "steps": steps}
    constants = {name: value for name, value in constants.items() if value is not None}
    return graph(
        [
            helper.make_node("Slice", ["input", *constants], ["part"]),
            helper.make_node("AveragePool", ["part"], ["out"], **attributes),
        ],
        "out",
        **{k: np.atleast_1d(np.array(v, np.int64)) for k, v in constants.items()},
    )


@pytest.mark.parametrize(
    "model",
    [
        pooled(),
        pooled(steps=1),
        pooled(start=-2),
        pooled(start=1, end=3),
        pooled(kernel_shape=[2, 4], strides=[2, 4], pads=[0, 0, 0, 0]),
    ],
)
def test_pooling_becomes_a_convolution(model):
    before = run(model)
    assert pool_by_convolution(model) == 1
    assert [n.op_type for n in model.graph.node] == ["Conv"]
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        pooled(axis=2, start=0),
        pooled(steps=2),
        pooled(strides=[2, 2]),
        pooled(pads=[0, 0, 4, 4]),
        pooled(dilations=[2, 2]),
        pooled(axis=None, start=[0, 3, 0, 0], end=[2, 6, 32, 48]),
        pooled(axis=[1, 2], start=[3, 0], end=[6, 32], steps=[1, 1]),
        pooled(kernel_shape=[5, 5], strides=[5, 5], ceil_mode=1),
    ],
)
def test_other_pooling_stays(model):
    before = model.SerializeToString()
    assert pool_by_convolution(model) == 0
    assert model.SerializeToString() == before


def test_old_operator_sets_stay():
    model = pooled()
    model.opset_import[0].version = 12
    assert faster_on_cpu(model) == 0


def test_a_slice_that_is_read_elsewhere_stays():
    model = pooled()
    model.graph.output.append(
        helper.make_tensor_value_info("part", TensorProto.FLOAT, list("nchw"))
    )
    assert pool_by_convolution(model) == 0
    del model.graph.output[-1]
    model.graph.node.append(helper.make_node("ReduceMax", ["part"], ["most"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("most", TensorProto.FLOAT, []))
    assert pool_by_convolution(model) == 0


def enlarged(channels):
    return graph(
        [
            helper.make_node("Conv", ["input", "weight"], ["score"]),
            helper.make_node(
                "Resize",
                ["score", "", "scales"],
                ["out"],
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            ),
        ],
        "out",
        weight=RNG.standard_normal((channels, 6, 1, 1)).astype(np.float32),
        scales=np.array([1, 1, 4, 4], np.float32),
    )


def test_a_map_of_one_channel_is_enlarged_plain():
    model = enlarged(1)
    before = run(model)
    assert enlarge_plain_maps(model) == 1
    assert [n.op_type for n in model.graph.node] == ["Conv", "Squeeze", "Unsqueeze", "Resize"]
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-6)
    several = enlarged(2)
    assert enlarge_plain_maps(several) == 0


@pytest.mark.slow
def test_an_exported_network_is_rewritten_once(tmp_path):
    checkpoint = write_random(tmp_path / "last.pt", width=0.125, head_channels=8)
    path = tmp_path / "m.onnx"
    export_onnx(checkpoint, path, OnnxOptions())
    assert not operators(path) & {"AveragePool", "Slice"}
    assert "Unsqueeze" in operators(path)
    assert faster_on_cpu(onnx.load(str(path))) == 0
