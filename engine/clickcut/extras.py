"""Packages that come with an extra of the distribution."""

from __future__ import annotations

import importlib.util

from clickcut.errors import BackendError


def installed(module: str) -> bool:
    """Whether a top-level module is there; it is not imported."""
    return importlib.util.find_spec(module) is not None


def require(extra: str, *modules: str) -> None:
    """Check that modules are there, without importing them.

    Args:
        extra: of the distribution, which brings them; several with commas between.
        modules: top-level names.

    Raises:
        BackendError: says which are missing and what to install.
    """
    if missing := [module for module in modules if not installed(module)]:
        raise BackendError(f"not installed: {', '.join(missing)}; pip install 'clickcut[{extra}]'")
