"""What Label Studio, its labelling configuration or a request of it may lack."""

from __future__ import annotations

from clickcut.errors import ClickcutError


class LabelStudioError(ClickcutError):
    """Label Studio refuses something or does not have it."""


class LabelStudioUnreachableError(LabelStudioError):
    """Label Studio does not answer."""


class KeyRefusedError(LabelStudioError):
    """Label Studio refuses the key."""


class TaskError(ClickcutError):
    """A request cannot be answered: its clicks, task or labelling configuration do not fit."""


class SlowError(ClickcutError):
    """The answer was not there before Label Studio stops waiting."""
