"""Networks as small as the tests' are slower on several threads; random numbers are fixed."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _determinate():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    torch.set_num_threads(1)
