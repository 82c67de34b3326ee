"""Check what is installed: packages of an extra, and OpenCV, whose loader fails obscurely."""

from __future__ import annotations

import importlib
import importlib.util

from clickcut.errors import BackendError


def installed(module: str) -> bool:
    """Return whether a top-level module is there; it is not imported."""
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


def opencv_fault() -> str:
    """Return what is wrong with OpenCV and what to do, in one line; "" when it can be used."""
    try:
        cv2 = importlib.import_module("cv2")
    except Exception as error:  # its loader raises ImportError, RecursionError and others
        reason = str(error).partition("\n")[0] or type(error).__name__
    else:
        if hasattr(cv2, "imdecode"):
            return ""
        reason = "its folder is there, but empty"
    return (
        f"OpenCV cannot be used ({reason}). Its wheels share one folder, so removing one of two "
        "breaks the other: pip uninstall opencv-python opencv-python-headless, then "
        "pip install opencv-python-headless"
    )
