"""Errors of the exporters; the command line turns them into a message and an exit code."""

from __future__ import annotations

from clickcut.errors import ClickcutError


class ExportError(ClickcutError):
    """An export was refused or failed; nothing was written."""


class ParityError(ExportError):
    """The exported model does not say the same as the one it came from; nothing was written."""
