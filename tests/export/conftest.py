"""Fixtures of the exporters' tests."""

from __future__ import annotations

import pytest
import torch
from export_cases import write_random

from clickcut_export.to_onnx import OnnxOptions, export_onnx


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Of the paper's architecture, 64 times narrower."""
    return write_random(
        tmp_path_factory.mktemp("run") / "last.pt",
        architecture="fcn8s",
        backbone="vgg16",
        width=1 / 64,
        encoding="distance",
        previous=False,
    )


@pytest.fixture(scope="session")
def exported(checkpoint):
    """The checkpoint's bundle, with notes."""
    path = checkpoint.with_name("small.onnx")
    options = OnnxOptions(name="small", version="7", notes={"accuracy": {"somewhere@90": 3.5}})
    export_onnx(checkpoint, path, options)
    return path
