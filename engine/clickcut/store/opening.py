"""Open the store that a setting names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from clickcut.store.base import Limits, Store

KINDS = "memory, sqlite:PATH, redis://HOST:PORT/DB, rediss://... or unix://PATH"


def check_url(url: str) -> str:
    """Return the name of a store, checked.

    Raises:
        ValueError: it is none of `KINDS`.
    """
    kind, _, rest = url.partition(":")
    if url == "memory" or (kind == "sqlite" and rest):
        return url
    if kind in ("redis", "rediss", "unix") and rest.startswith("//"):
        parts = urlsplit(url)
        if kind == "unix" and parts.path:
            return url
        try:
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{redacted(url)}: {error}") from error
        if parts.hostname and port != 0:
            return url
    raise ValueError(f"a store is {KINDS}, not {redacted(url)!r}")


def redacted(url: str) -> str:
    """Return a URL without user name and password."""
    head, at, tail = url.rpartition("@")
    scheme, separator, _ = head.partition("//")
    return f"{scheme}{separator}***@{tail}" if at and separator else url


def open_store(url: str, limits: Limits) -> Store | None:
    """Open a store; create it if it does not exist.

    Args:
        url: see `KINDS`.
        limits: of the store.

    Returns:
        The store; None for `memory`: sessions then live and end with the process.

    Raises:
        StoreError: it cannot be used; the message names it and says what to do.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        return None
    if kind == "sqlite":
        from clickcut.store.sqlite import SqliteStore

        return SqliteStore(Path(rest), limits)
    from clickcut.store.redis import RedisStore  # the client is an extra

    return RedisStore(url, redacted(url), limits)
