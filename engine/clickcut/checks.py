"""Check arguments from a user: convert what is valid, raise a clear error for the rest."""

from __future__ import annotations

import math

import numpy as np

from clickcut.errors import EventError


def number_of(value: object, name: str) -> float:
    """Return a finite Python or NumPy number as float.

    Raises:
        EventError: anything else: a bool, a str, None, an array, NaN.
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
    """Return a Python or NumPy bool as bool.

    Raises:
        EventError: anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise EventError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def text_of(value: object, name: str) -> str:
    """Return a string that can be encoded as UTF-8.

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
    """Return a value as error messages show it."""
    text = repr(value)
    kind = type(value).__name__
    return f"{kind} {text[:60]}{'...' if len(text) > 60 else ''}"
