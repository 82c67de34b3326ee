"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server.harness import RawStream, ServerProcess


@pytest.fixture
def raw(server: ServerProcess) -> Iterator[RawStream]:
    with RawStream(server.address) as stream:
        yield stream
