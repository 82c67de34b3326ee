"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server.harness import RawStream, ServerProcess, write_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture(scope="session")
def server(bundle: Path) -> Iterator[ServerProcess]:
    """One server for all tests that do not harm it."""
    with ServerProcess(bundle, max_message_mib=8, max_image_mib=24) as process:
        yield process
        assert process.process.poll() is None, process.errors


@pytest.fixture
def raw(server: ServerProcess) -> Iterator[RawStream]:
    with RawStream(server.address) as stream:
        yield stream
