"""Open the SQLite file of a store: create it, check it, move a damaged one aside.

Each process that uses the file holds a shared lock on PATH.lock, so that none moves a file aside
that another one writes to.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from clickcut.errors import StoreError
from clickcut.store.base import EVENT_BYTES, FORMAT, SESSION_BYTES

_log = logging.getLogger(__name__)

APPLICATION_ID = 0x636C6B63
"""Marks the files of clickcut; see https://www.sqlite.org/pragma.html#pragma_application_id."""

PAGE = 4096
"""Bytes of a page."""

_MAGIC = b"SQLite format 3\0"
_ID_AT = 68
"""Offset of the application id in the file's header: https://www.sqlite.org/fileformat.html."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = ("clock", "owners", "sessions", "events", "images")


def _cost(row: str) -> str:
    """Return what a session counts for in its owner's share."""
    return (
        f"({SESSION_BYTES} + length({row}.start) + {row}.nbytes + {EVENT_BYTES} * {row}.position)"
    )


_SCHEMA = (
    "CREATE TABLE clock (seconds REAL NOT NULL)",
    "INSERT INTO clock VALUES (0.0)",
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, owner TEXT NOT NULL, image TEXT NOT NULL,"
    " model TEXT NOT NULL, start BLOB NOT NULL, epoch INTEGER NOT NULL, position INTEGER NOT NULL,"
    " nbytes INTEGER NOT NULL, used REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX sessions_by_image ON sessions (owner, image)",
    "CREATE INDEX sessions_by_use ON sessions (used)",
    # Kept by triggers: sessions are removed in several ways, many at once.
    "CREATE TABLE owners (owner TEXT PRIMARY KEY, nbytes INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TRIGGER session_created AFTER INSERT ON sessions BEGIN"
    f" INSERT INTO owners VALUES (NEW.owner, {_cost('NEW')})"
    " ON CONFLICT (owner) DO UPDATE SET nbytes = nbytes + excluded.nbytes; END",
    "CREATE TRIGGER session_grown AFTER UPDATE OF position, nbytes ON sessions BEGIN"
    f" UPDATE owners SET nbytes = nbytes + {_cost('NEW')} - {_cost('OLD')}"
    " WHERE owner = NEW.owner; END",
    "CREATE TRIGGER session_removed AFTER DELETE ON sessions BEGIN"
    f" UPDATE owners SET nbytes = nbytes - {_cost('OLD')} WHERE owner = OLD.owner; END",
    "CREATE TABLE events (session TEXT NOT NULL, position INTEGER NOT NULL, event BLOB NOT NULL,"
    " PRIMARY KEY (session, position)) WITHOUT ROWID",
    "CREATE TABLE images (owner TEXT NOT NULL, digest TEXT NOT NULL, nbytes INTEGER NOT NULL,"
    " used REAL NOT NULL, PRIMARY KEY (owner, digest)) WITHOUT ROWID",
    "CREATE INDEX images_by_use ON images (used)",
)


class SqliteFile:
    """A store's file that is locked against being moved, created and checked.

    Args:
        path: of the file; its folder must exist.
        timeout: seconds to wait for another process that holds a lock.

    Raises:
        StoreError: it cannot be created or read, is locked, of another program or version, or is
            damaged while another process uses it.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self.path = path
        self._timeout = timeout
        self._guard = self._lock()
        try:
            try:
                self._check()
            except _DamagedError as damage:
                self._move_aside(str(damage))
                self._check()
        except BaseException:
            os.close(self._guard)
            raise

    def connect(self) -> sqlite3.Connection:
        """Return a connection for use under a lock of its own; transactions are explicit."""
        connection = sqlite3.connect(
            self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def close(self) -> None:
        """Release the lock."""
        os.close(self._guard)

    def _lock(self) -> int:
        """Hold the lock that all users of the file share."""
        beside = self.path.with_name(f"{self.path.name}.lock")
        try:
            guard = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot use the store {self.path}: {beside} cannot be written ({error.strerror})"
            ) from error
        try:
            fcntl.flock(guard, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            os.close(guard)
            raise StoreError(
                f"the store {self.path} is being moved aside by another process; start again"
            ) from error
        return guard

    def _check(self) -> None:
        """Create the tables, or check what is there.

        Raises:
            _DamagedError: a store of ours is damaged.
            StoreError: see the class.
        """
        ours = self._has_our_header()
        try:
            with closing(self.connect()) as connection:
                if ours is None:
                    self._create(connection)
                self._check_version(connection)
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise _DamagedError(str(found).splitlines()[-1])
                if not all(self._has(connection, table) for table in _TABLES):
                    raise _DamagedError("a table is missing")
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreError(
                    f"the store {self.path} is locked by another program ({error}); end it, or "
                    "give another path"
                ) from error
            if ours and code in (
                sqlite3.SQLITE_CORRUPT,
                sqlite3.SQLITE_NOTADB,
                sqlite3.SQLITE_ERROR,
            ):
                raise _DamagedError(str(error)) from error
            raise StoreError(f"cannot use the store {self.path} ({error})") from error

    def _has_our_header(self) -> bool | None:
        """Return whether the file is marked as ours; None if it is new or empty.

        Raises:
            StoreError: it is a file of another program.
        """
        try:
            with self.path.open("rb") as file:
                header = file.read(100)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read the store {self.path} ({error.strerror})") from error
        if not header:
            return None
        if not header.startswith(_MAGIC):
            raise StoreError(
                f"{self.path} is not a store of clickcut, or its header is damaged; it was left "
                "alone: move it away, or give another path"
            )
        identity = int.from_bytes(header[_ID_AT : _ID_AT + 4])
        if identity == APPLICATION_ID:
            return True
        if identity == 0 and self._is_unfinished():
            return None
        raise StoreError(f"{self.path} is the database of another program; give another path")

    def _is_unfinished(self) -> bool:
        """Return whether a database has no tables: its creator was killed, or runs at present."""
        try:
            with closing(self.connect()) as connection:
                found = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.Error:
            return False
        return int(found) == 0

    def _create(self, connection: sqlite3.Connection) -> None:
        os.chmod(self.path, 0o600)  # ids of sessions are secrets
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute("COMMIT")
        # Only now: before, the mark would be in the log, and the header without it.
        connection.execute("PRAGMA journal_mode=WAL")

    def _check_version(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            raise StoreError(
                f"the store {self.path} has format {version}, and this version of clickcut reads "
                f"format {FORMAT}; it was left alone: use the version that wrote it, or give "
                "another path"
            )

    def _has(self, connection: sqlite3.Connection, table: str) -> bool:
        found = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        )
        return bool(found.fetchone()[0])

    def _move_aside(self, damage: str) -> None:
        """Rename a damaged file and those that belong to it.

        Raises:
            StoreError: another process uses it, or it cannot be renamed.
        """
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"the store {self.path} is damaged ({damage}) and another server uses it; stop all "
                "servers on it, then start them again"
            ) from error
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            for suffix in ("-wal", "-shm", ""):
                found = self.path.with_name(f"{self.path.name}{suffix}")
                if found.exists():
                    found.rename(aside.with_name(f"{aside.name}{suffix}"))
        except OSError as error:
            raise StoreError(
                f"the store {self.path} is damaged ({damage}) and cannot be renamed "
                f"({error.strerror}); move it away, or give another path"
            ) from error
        fcntl.flock(self._guard, fcntl.LOCK_SH)
        _log.error(
            "the store %s is damaged (%s): moved to %s, started with an empty one; clients open "
            "their sessions again from their own events",
            self.path,
            damage,
            aside,
        )


class _DamagedError(Exception):
    """A store of ours is damaged."""
