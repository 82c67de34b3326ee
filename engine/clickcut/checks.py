"""Checks of arguments that a user may give: what is taken, and clear errors for the rest."""

from __future__ import annotations

import math

import numpy as np

from clickcut.errors import EventError


def number_of(value: object, name: str) -> float:
    """A finite number, of Python or NumPy, as float.

    Raises:
        EventError: anything else: a bool, a text, None, an array, NaN.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    number = isinstance(value, int | float | np.integer | np.floating)
    if not number or isinstance(value, bool):
        raise EventError(f"{name} must be a number, got {shown(value)}")
    try:
        found = float(value)  # type: ignore[arg-type]
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise EventError(f"{name} must be a finite number, got {shown(value)}")
    return found


def flag_of(value: object, name: str) -> bool:
    """True or False, of Python or NumPy.

    Raises:
        EventError: anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise EventError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def text_of(value: object, name: str) -> str:
    """A text that can be sent.

    Raises:
        EventError: not a str, or one with undecodable bytes of a file name.
    """
    if not isinstance(value, str):
        raise EventError(f"{name} must be a str, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise EventError(f"{name} must be text that is valid Unicode, got {value!r}") from error
    return value


def shown(value: object) -> str:
    """A value as an error names it."""
    text = repr(value)
    kind = type(value).__name__
    return f"{kind} {text[:60]}{'...' if len(text) > 60 else ''}"
