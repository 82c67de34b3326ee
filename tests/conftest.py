"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from clickcut.bundle import bundled_models

settings.register_profile("without deadlines", deadline=None)  # a busy machine fails no test
settings.load_profile("without deadlines")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photographs beside the repository; tests that need it skip without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the photographs of ../shared/data are not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of initial weights beside the repository; tests that need it skip without it."""
    if not (SHARED / "weights").is_dir():
        pytest.skip("the weights of ../shared/weights are not here")
    return SHARED / "weights"


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    """The model that ships."""
    return bundled_models()["default"]
