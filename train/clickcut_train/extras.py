"""Packages that are installed with an extra only."""

from __future__ import annotations

import importlib.util

from clickcut.errors import BackendError


def require(*modules: str) -> None:
    """Check that modules of the extra `train` are there, without importing them.

    Raises:
        BackendError: says which is missing and what to install.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise BackendError(f"{module} is not installed: pip install 'clickcut[train]'")
