"""Stores of sessions: their events and images, kept outside of the process that serves them."""

from clickcut.store.base import (
    NO_EVENTS,
    Append,
    ConflictError,
    Create,
    Drop,
    Limits,
    Opening,
    Store,
    Stored,
    Write,
)
from clickcut.store.opening import check_url, open_store

__all__ = [
    "NO_EVENTS",
    "Append",
    "ConflictError",
    "Create",
    "Drop",
    "Limits",
    "Opening",
    "Store",
    "Stored",
    "Write",
    "check_url",
    "open_store",
]
