"""CVAT's packages, which may be installed elsewhere: CLICKCUT_CVAT_PACKAGES=.../site-packages."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

VARIABLE = "CLICKCUT_CVAT_PACKAGES"


def make_importable(*names: str) -> None:
    """Make packages importable; skip the module's tests where one is not installed."""
    folder = os.environ.get(VARIABLE)
    if folder and folder not in sys.path:
        sys.path.append(folder)
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} not installed: pip install '.[cvat]' nuclio-sdk, or set "
            f"{VARIABLE} to the site-packages that have them",
            allow_module_level=True,
        )
