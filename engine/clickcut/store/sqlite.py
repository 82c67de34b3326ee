"""A store in a local SQLite file, with the images in a folder beside it.

The file is in WAL mode with `synchronous=FULL`: a write is acknowledged when it is on the disk, so
neither the end of the process nor a power failure loses it (https://www.sqlite.org/pragma.html).
Several processes of one machine may share the file; it must not be on a network file system.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clickcut.errors import ClickcutError, StoreFullError, StoreUnavailableError
from clickcut.store import base
from clickcut.store.base import (
    EVENT_BYTES,
    SESSION_BYTES,
    Append,
    Create,
    Limits,
    Opening,
    Stored,
    Write,
)
from clickcut.store.clock import StoreClock
from clickcut.store.image_files import ImageFiles
from clickcut.store.sqlite_file import PAGE, SqliteFile

_UNUSED = (
    "NOT EXISTS (SELECT 1 FROM sessions"
    " WHERE sessions.owner = images.owner AND sessions.image = images.digest)"
)


class SqliteStore:
    """A store in a SQLite file; see `clickcut.store.base.Store`.

    Args:
        path: of the file; its folder must exist.
        limits: of the store.
        seconds: a clock that never goes back.

    Raises:
        StoreError: see `SqliteFile`.
    """

    def __init__(
        self, path: Path, limits: Limits, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = SqliteFile(path, limits.timeout)
        self._limits = limits
        self._images = ImageFiles(path.with_name(f"{path.name}.images"))
        self._lock = threading.Lock()
        self._connection = self._file.connect()
        self._connection.execute(f"PRAGMA max_page_count={max(64, limits.max_bytes // PAGE)}")
        self._connection.execute(f"PRAGMA journal_size_limit={16 * 2**20}")
        start = self._connection.execute("SELECT seconds FROM clock").fetchone()[0]
        self._clock = StoreClock(float(start), seconds)

    # ---- sessions

    def commit(self, writes: Sequence[Write]) -> list[ClickcutError | None]:
        """See `Store.commit`."""
        with self._writing() as db:
            return [self._write(db, write) for write in writes]

    def load(
        self, session_id: str, owner: str, after: int = 0, take: bool = False
    ) -> Stored | None:
        """See `Store.load`."""
        with self._writing() if take else self._reading() as db:
            if take:
                db.execute(
                    "UPDATE sessions SET epoch = epoch + 1, used = ? WHERE id = ? AND owner = ?",
                    (self._clock.now(), session_id, owner),
                )
            row = db.execute(
                "SELECT image, model, start, epoch, position FROM sessions"
                " WHERE id = ? AND owner = ?",
                (session_id, owner),
            ).fetchone()
            if row is None:
                return None
            events = db.execute(
                "SELECT event FROM events WHERE session = ? AND position >= ? ORDER BY position",
                (session_id, after),
            ).fetchall()
        image, model, start, epoch, position = row
        opening = Opening(session_id, owner, image, model, start)
        return Stored(opening, epoch, position, [event for (event,) in events])

    def _write(self, db: sqlite3.Connection, write: Write) -> ClickcutError | None:
        if isinstance(write, Append):
            return self._append(db, write)
        if isinstance(write, Create):
            return self._create(db, write)
        db.execute("DELETE FROM events WHERE session = ?", (write.session_id,))
        db.execute("DELETE FROM sessions WHERE id = ?", (write.session_id,))
        return None

    def _create(self, db: sqlite3.Connection, write: Create) -> ClickcutError | None:
        opening, used = write.opening, self._clock.now()
        if self._exceeds(db, opening.owner, SESSION_BYTES + write.nbytes, write.share):
            return base.share_used(write.share or 0)
        found = db.execute(
            "UPDATE images SET used = ? WHERE owner = ? AND digest = ?",
            (used, opening.owner, opening.image),
        )
        if not found.rowcount:
            return base.image_missing(opening.image)
        fields = (opening.session_id, opening.owner, opening.image, opening.model, opening.start)
        db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, 1, 0, 0, ?)", (*fields, used))
        return None

    def _append(self, db: sqlite3.Connection, write: Append) -> ClickcutError | None:
        row = db.execute(
            "SELECT owner, epoch, position, nbytes FROM sessions WHERE id = ?", (write.session_id,)
        ).fetchone()
        if row is None:
            return base.not_found()
        owner, epoch, position, nbytes = row
        if epoch != write.epoch:
            return base.taken_over()
        if position == write.position + 1 and self._is_last(db, write):
            return None
        if position != write.position:
            return base.conflict(write.position, position)
        nbytes += len(write.event)
        if nbytes > self._limits.max_session_bytes:
            return base.too_large(self._limits.max_session_bytes)
        if self._exceeds(db, owner, EVENT_BYTES + len(write.event), write.share):
            return base.share_used(write.share or 0)
        db.execute("INSERT INTO events VALUES (?, ?, ?)", (write.session_id, position, write.event))
        db.execute(
            "UPDATE sessions SET position = position + 1, nbytes = ?, used = ? WHERE id = ?",
            (nbytes, self._clock.now(), write.session_id),
        )
        return None

    def _exceeds(self, db: sqlite3.Connection, owner: str, wanted: int, share: int | None) -> bool:
        """Return whether an owner's sessions would exceed its share with `wanted` more bytes."""
        if share is None:
            return False
        row = db.execute("SELECT nbytes FROM owners WHERE owner = ?", (owner,)).fetchone()
        return (row[0] if row else 0) + wanted > share

    def _is_last(self, db: sqlite3.Connection, write: Append) -> bool:
        """Return whether a write is in the store already, as the last event of its session."""
        last = db.execute(
            "SELECT event FROM events WHERE session = ? AND position = ?",
            (write.session_id, write.position),
        ).fetchone()
        return last is not None and bytes(last[0]) == write.event

    # ---- images

    def put_image(
        self, owner: str, digest: str, data: bytes | bytearray, share: int | None = None
    ) -> None:
        """See `Store.put_image`."""
        with self._writing() as db:
            known = db.execute(
                "SELECT nbytes FROM images WHERE owner = ? AND digest = ?", (owner, digest)
            ).fetchone()
            if known is None:
                self._make_room(db, owner, len(data), share)
            db.execute(
                "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)",
                (owner, digest, len(data), self._clock.now()),
            )
        # The row comes first: it reserves the room, and a file without a row would never be pruned.
        self._images.write(owner, digest, data)

    def get_image(self, owner: str, digest: str) -> bytes | None:
        """See `Store.get_image`."""
        return self._images.read(owner, digest) if self.touch_image(owner, digest) else None

    def touch_image(self, owner: str, digest: str) -> bool:
        """See `Store.touch_image`."""
        with self._writing() as db:
            found = db.execute(
                "UPDATE images SET used = ? WHERE owner = ? AND digest = ?",
                (self._clock.now(), owner, digest),
            )
        return bool(found.rowcount) and self._images.has(owner, digest)

    def _make_room(
        self, db: sqlite3.Connection, owner: str, wanted: int, share: int | None
    ) -> None:
        """Prune images of no session until `wanted` bytes fit; see `Store.put_image`."""
        sums = db.execute("SELECT owner, sum(nbytes) FROM images GROUP BY owner")
        held: Counter[str] = Counter(dict(sums.fetchall()))
        pruned: list[tuple[str, str]] = []
        spare: dict[str, list[tuple[str, int]]] = {}

        def prune_one(of: str) -> bool:
            if of not in spare:  # the one to prune first comes last
                spare[of] = db.execute(
                    f"SELECT digest, nbytes FROM images WHERE owner = ? AND {_UNUSED}"
                    " ORDER BY used DESC",
                    (of,),
                ).fetchall()
            if not spare[of]:
                return False
            digest, nbytes = spare[of].pop()
            pruned.append((of, digest))
            held[of] -= nbytes
            return True

        while share is not None and held[owner] + wanted > share:
            if not prune_one(owner):
                raise base.image_share_used(share)
        owners = set(held)
        while held.total() + wanted > self._limits.max_image_bytes:
            if not owners:
                raise base.images_full(self._limits.max_image_bytes)
            largest = max(owners, key=held.__getitem__)
            if not prune_one(largest):
                owners.remove(largest)
        for of, digest in pruned:
            self._forget(db, of, digest)

    def _forget(self, db: sqlite3.Connection, owner: str, digest: str) -> None:
        db.execute("DELETE FROM images WHERE owner = ? AND digest = ?", (owner, digest))
        self._images.remove(owner, digest)

    # ---- the rest

    def prune(self) -> int:
        """See `Store.prune`."""
        with self._writing() as db:
            self._clock.catch_up(db.execute("SELECT seconds FROM clock").fetchone()[0])
            before = self._clock.now() - self._limits.seconds
            db.execute(
                "DELETE FROM events WHERE session IN (SELECT id FROM sessions WHERE used < ?)",
                (before,),
            )
            removed = db.execute("DELETE FROM sessions WHERE used < ?", (before,)).rowcount
            unused = db.execute(
                f"SELECT owner, digest FROM images WHERE used < ? AND {_UNUSED}", (before,)
            ).fetchall()
            for owner, digest in unused:
                self._forget(db, owner, digest)
        return removed

    def describe(self) -> str:
        """See `Store.describe`."""
        return f"SQLite file {self._file.path}, images in {self._images.folder}"

    def warnings(self) -> list[str]:
        """See `Store.warnings`."""
        return []

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._connection.close()
        self._file.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._named_errors():
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; nothing of it remains when it fails."""
        with self._lock, self._named_errors():
            db = self._connection
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("UPDATE clock SET seconds = max(seconds, ?)", (self._clock.now(),))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # some errors end it
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF == sqlite3.SQLITE_FULL:
                raise StoreFullError(
                    f"the store {self._file.path} is full ({error}): free room on its disk, close "
                    "sessions, or start the server with a larger --store-mib",
                    reason="store",
                ) from error
            raise StoreUnavailableError(
                f"the store {self._file.path} cannot be used at the moment ({error}); try again, "
                "and see the server's log"
            ) from error
