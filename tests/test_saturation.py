"""Whether products of 8-bit integers are right is found out, not believed."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from onnx import TensorProto, helper

from clickcut.backends.saturation import PROBE, saturates

EMULATOR = "qemu-x86_64"
"""Runs a program on an emulated processor; Debian's package qemu-user has it."""


def probe():
    """The bytes of the packaged graph."""
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["product"])],
        "probe",
        [
            helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 64]),
            helper.make_tensor_value_info("b", TensorProto.INT8, [64, 16]),
        ],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [1, 16])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=8)
    return model.SerializeToString(deterministic=True)


def test_the_packaged_graph_is_this_one():
    assert PROBE.read_bytes() == probe()


def test_the_answer_is_that_of_the_processor():
    assert saturates() in (True, False)


@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"{EMULATOR} is not installed")
def test_a_processor_without_vnni_saturates_whatever_it_is_called():
    code = "from clickcut.backends.saturation import saturates; print(saturates())"
    command = [EMULATOR, "-cpu", "Haswell", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr
