"""What can go wrong in an evaluation; every message says what to do."""

from __future__ import annotations

from clickcut.errors import ClickcutError


class DatasetError(ClickcutError):
    """A data set folder is not as it should be; the message lists every fault."""


class RunError(ClickcutError):
    """A run directory cannot be used: of another configuration, in use, damaged."""


class MethodError(ClickcutError):
    """A method cannot be built: unknown, or something that it needs is missing."""
