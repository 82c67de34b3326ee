"""Errors of the training sidecar; the command line turns them into a message and an exit code."""

from __future__ import annotations

from clickcut.errors import ClickcutError
from clickcut_eval.errors import DatasetError


class ConfigError(ClickcutError):
    """A configuration cannot be used: unknown key, wrong value, values that contradict."""


class CheckpointError(ClickcutError):
    """A checkpoint cannot be read, or is of another architecture."""


class WeightsError(ClickcutError):
    """A file of initial weights cannot be used: unreadable, of another network, incomplete."""


class TrainingError(ClickcutError):
    """A run cannot go on: no memory, no disk, a loss that is not finite; the message advises."""


class DataError(DatasetError):
    """Training data cannot be used: missing, damaged, of another layout; the message says where."""
