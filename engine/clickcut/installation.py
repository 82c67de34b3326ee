"""Faults of an installation that Python reports in words which help no one."""

from __future__ import annotations

import importlib


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
