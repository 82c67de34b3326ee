"""The sessions of a server in a store: what is written, from the event loop, by threads.

Writes that wait are committed together, so that many sessions share the cost of one `fsync` or one
round trip; each is awaited before its event is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from clickcut.errors import ClickcutError, StoreFullError, StoreUnavailableError
from clickcut.server.metrics import StoreMetrics
from clickcut.store import Drop, Store, Stored, Write

T = TypeVar("T")

_log = logging.getLogger(__name__)

_BATCH = 256
"""Maximum number of writes that are committed together."""
_LOG_SECONDS = 10.0
"""Seconds between two lines about a store that fails."""
_THREADS = 4
"""Threads that load sessions, and read and write images."""


class Journal:
    """A store, as the event loop uses it.

    Args:
        store: closed with the journal.
        metrics: of the store.
    """

    def __init__(self, store: Store, metrics: StoreMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="clickcut-journal")
        self._others = ThreadPoolExecutor(_THREADS, thread_name_prefix="clickcut-store")
        self._waiting: list[tuple[Write, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._closed = False
        self._logged, self._unlogged = -math.inf, 0

    # ---- sessions

    async def write(self, write: Write) -> None:
        """Return when a write is in the store.

        Raises:
            ClickcutError: see `Store.commit`.
        """
        if self._closed:
            raise StoreUnavailableError("the server is shutting down; try another one")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        await future

    async def drop(self, session_id: str) -> None:
        """Drop a session; one that cannot be dropped now expires later."""
        try:
            await self.write(Drop(session_id))
        except ClickcutError as error:
            _log.warning("a closed session stays in the store until it expires: %s", error)

    async def load(
        self, session_id: str, owner: str, after: int = 0, take: bool = False
    ) -> Stored | None:
        """See `Store.load`."""
        return await self._run(lambda: self._store.load(session_id, owner, after, take))

    # ---- images

    async def put_image(
        self, owner: str, digest: str, data: bytes | bytearray, share: int | None
    ) -> None:
        """See `Store.put_image`."""
        await self._run(lambda: self._store.put_image(owner, digest, data, share))
        self._metrics.count_write("image", len(data))

    async def get_image(self, owner: str, digest: str) -> bytes | None:
        """See `Store.get_image`."""
        return await self._run(lambda: self._store.get_image(owner, digest))

    async def touch_image(self, owner: str, digest: str) -> bool:
        """See `Store.touch_image`."""
        return await self._run(lambda: self._store.touch_image(owner, digest))

    # ---- the rest

    async def prune(self) -> None:
        """Remove what has expired; a failure is logged, the next call tries again."""
        try:
            removed = await self._run(self._store.prune)
        except ClickcutError as error:
            _log.warning("expired sessions stay in the store for now: %s", error)
        else:
            if removed:
                _log.info("%d expired sessions removed from the store", removed)

    async def warnings(self) -> list[str]:
        """See `Store.warnings`."""
        return await self._run(self._store.warnings)

    def describe(self) -> str:
        """See `Store.describe`."""
        return self._store.describe()

    async def close(self) -> None:
        """Commit what waits, then close the store."""
        self._closed = True
        if self._committing is not None:
            await self._committing
        self._writer.shutdown()
        self._others.shutdown(cancel_futures=True)
        self._store.close()

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                await self._commit(batch)
        finally:
            self._committing = None

    async def _commit(self, batch: list[tuple[Write, asyncio.Future[None]]]) -> None:
        writes = [write for write, _ in batch]
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        outcomes: list[ClickcutError | None]
        try:
            outcomes = await loop.run_in_executor(self._writer, self._store.commit, writes)
        except ClickcutError as error:
            outcomes = [error] * len(batch)
        except Exception:
            _log.exception("the store failed in an unexpected way")
            unknown = StoreUnavailableError("the store failed; the server's log has the details")
            outcomes = [unknown] * len(batch)
        self._metrics.observe_commit(time.perf_counter() - began)
        for (write, future), outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self._metrics.count_write(type(write).__name__.lower(), write.nbytes)
            else:
                self._note(outcome)
            if not future.done():
                future.set_result(None) if outcome is None else future.set_exception(outcome)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._others, work)
        except ClickcutError as error:
            self._note(error)
            raise

    def _note(self, error: ClickcutError) -> None:
        """Count an error; log those of the store itself, one line for many."""
        self._metrics.count_error(error)
        if not isinstance(error, StoreUnavailableError | StoreFullError):
            return
        now = time.monotonic()
        self._unlogged += 1
        if now - self._logged > _LOG_SECONDS:
            _log.warning("%s (%d since the last line)", error, self._unlogged)
            self._logged, self._unlogged = now, 0
