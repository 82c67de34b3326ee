"""The state shared by all requests: pool, images, sessions, models, metrics."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from clickcut.errors import (
    AuthenticationError,
    BusyError,
    ClickcutError,
    ServerError,
    UnavailableError,
)
from clickcut.image_file.process import Decoder
from clickcut.images import ImageLimits, PreparedImage
from clickcut.processor import available_cores
from clickcut.server import logs
from clickcut.server.durability import Volatile
from clickcut.server.durable import Durable
from clickcut.server.fault_log import FaultLog
from clickcut.server.held_session import HeldSession
from clickcut.server.image_store import ImageStore
from clickcut.server.journal import Journal
from clickcut.server.memory import (
    Allowance,
    Budgets,
    compute_bytes,
    give_memory_back,
    resident,
)
from clickcut.server.metrics import Metrics
from clickcut.server.model_registry import Models
from clickcut.server.pool import ComputePool
from clickcut.server.quotas import Quotas, StoreShares
from clickcut.server.recorder import Recorder
from clickcut.server.session_store import SessionStore
from clickcut.server.settings import MIB, Settings
from clickcut.server.tokens import Tokens
from clickcut.store import open_store

T = TypeVar("T")

_log = logging.getLogger(__name__)

_WATCH_SECONDS = 0.25
_PRUNE_SECONDS = 60.0
"""Seconds between two removals of what has expired from the store."""
_TIGHT, _CRITICAL = 0.8, 0.9
"""Fractions of the memory limit from which memory is freed, and work is refused."""
_RECORD_SECONDS = 5.0
"""How long the last records may take to be written when the server stops."""
_REFUSALS = 30
"""Maximum number of refused requests of one host that are logged in a minute."""


class Core:
    """The state of a server. Used from the event loop only, except work in the pool.

    Args:
        settings: of the server.
        models: to serve.
        workers: threads of the compute pool.
        tokens: of clients; None: those that the settings name.

    Raises:
        StoreError: the store of sessions cannot be used.

    Attributes:
        tokens: that clients may use.
        quotas: what the clients of each token use.
        ready: set when warm; until then nothing is computed.
        draining: set at shutdown; no new work begins.
        budgets: of memory.
        incoming: memory of messages and uploads in progress.
        outgoing: memory of large replies that clients have not read yet.
        computing: memory of events that are being computed, beside what they leave behind.
        durability: what outlives the process.
        on_shortage: called when memory is nearly exhausted; ends streams, which clients reopen.
    """

    def __init__(
        self, settings: Settings, models: Models, workers: int, tokens: Tokens | None = None
    ) -> None:
        self.settings = settings
        self.tokens = Tokens.of(settings) if tokens is None else tokens
        self.quotas = Quotas(self.tokens.limits_of)
        self.budgets = Budgets.of(settings, resident())
        self.models = models
        self.pool = ComputePool(workers, settings.queue, settings.queue_seconds or math.inf)
        cores = available_cores()
        models.is_crowded = lambda: self.pool.unfinished >= cores
        limits = ImageLimits(
            max_bytes=settings.max_image_mib * MIB,
            max_pixels=self.budgets.pixels,
        )
        self.decoder = Decoder(settings.decode_seconds)
        self.incoming = Allowance(self.budgets.incoming, "uploads and messages")
        self.outgoing = Allowance(self.budgets.outgoing, "replies that are not read yet")
        total = self.budgets.total
        self.computing = Allowance(total, "computing", total)
        self._decoding = Allowance(self.budgets.decoding, "decoding", total)
        self.images = ImageStore(
            self.budgets.images, limits, self.pool, self.decoder, self._decoding, self.quotas
        )
        self.sessions = SessionStore(
            self.images, settings, self.budgets.sessions, self.tokens.limits_of
        )
        self.metrics = Metrics(self.pool, self.images, self.sessions)
        self._refusals = FaultLog(logging.INFO, _REFUSALS)
        self.durability = self._open_store()
        self._recorder = self._open_recorder()
        self.ready = False
        self.draining = False
        self.on_shortage: list[Callable[[], None]] = []
        self._short = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def _open_store(self) -> Volatile:
        store = open_store(self.settings.store, self.settings.store_limits)
        if store is None:
            return Volatile(self)
        self.sessions.restorable = True
        shares = StoreShares(self.tokens.limits_of, self.settings.store_limits)
        return Durable(self, Journal(store, self.metrics.store), shares)

    def _open_recorder(self) -> Recorder | None:
        if self.settings.record is None:
            return None
        self.sessions.on_evict = self.record
        return Recorder(
            self.settings.record, self.settings.record_mib * MIB, self.metrics.count_record
        )

    def record(self, held: HeldSession) -> None:
        """Record a session that ends, where sessions are recorded."""
        if self._recorder is not None:
            self._recorder.record(held.session, held.model)

    def end_records(self) -> None:
        """Record the sessions that end with the process; then write what waits."""
        if self._recorder is not None:
            rest = [] if self.sessions.restorable else self.sessions.held()
            self._recorder.close(_RECORD_SECONDS, [(held.session, held.model) for held in rest])

    def check_accepting(self) -> None:
        """Check that new work may begin.

        Raises:
            UnavailableError: warming up or shutting down.
            BusyError: too little memory.
        """
        if self.draining:
            raise UnavailableError("the server is shutting down; try another one, or again later")
        if not self.ready:
            raise UnavailableError(
                "the server is warming up; try again in a few seconds (its health says SERVING "
                "when it is ready)"
            )

        self._check_memory()

    def _check_memory(self) -> None:
        if self._short:
            raise BusyError(
                "the server is short of memory; try again in a moment, or give it more "
                "--memory-mib",
                reason="memory",
            )

    def check_growth(self, held: HeldSession) -> None:
        """Check that there is memory for a session to grow.

        Raises:
            BusyError: sessions or images fill their memory.
        """
        self.sessions.check_growth(held)
        self.images.check_growth(held.session.image)
        self._check_memory()

    def computing_on(self, image: PreparedImage) -> AbstractContextManager[None]:
        """In a thread: reserve the memory to compute an event on an image.

        Raises:
            BusyError: too little memory.
        """
        return self.computing.taking(compute_bytes(image.width * image.height))

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work that continues to its end even if the caller is cancelled."""
        return await asyncio.shield(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that continues to its end even if it is not awaited."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # mark as retrieved, even if the caller is gone

    def known_error(self, error: Exception) -> ClickcutError:
        """Return an error for the client and log it; an unexpected one is replaced."""
        if not isinstance(error, ClickcutError):
            _log.error("unexpected error", exc_info=error)
            error = ServerError("internal error; the server's log has the details")
        elif error.reason != "unreadable" and not isinstance(error, AuthenticationError):
            # These two are logged as warnings, by the edge.
            self._refusals.add(logs.current_peer(), f"{type(error).__name__}: {error}")
        self.metrics.count_error(error)
        return error

    async def sweep(self) -> None:
        """Evict unused sessions periodically, until cancelled."""
        shortest = min(self.settings.idle_seconds, self.settings.resume_seconds)
        pruned = -math.inf
        while True:
            await asyncio.sleep(min(5.0, shortest / 4))
            self.sessions.drop_unused()
            self.images.trim()
            if time.monotonic() - pruned > _PRUNE_SECONDS:
                await self.durability.prune()
                pruned = time.monotonic()

    async def watch_memory(self) -> None:
        """Keep the process within its memory limit, until cancelled."""
        before = self.pool.finished
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            wanted = self.computing.exhausted or self._decoding.exhausted
            self.computing.exhausted = self._decoding.exhausted = False
            if wanted or resident() > _TIGHT * self.budgets.total:
                await self._free_memory()
            elif self._short or (before != self.pool.finished and not self.pool.unfinished):
                before, self._short = self.pool.finished, False
                await asyncio.to_thread(give_memory_back)

    async def _free_memory(self) -> None:
        """Free what can be recomputed or sent again; refuse work if that is not enough."""
        self.images.trim(self.budgets.images)
        self.sessions.free()
        await asyncio.to_thread(give_memory_back)
        used = resident()
        self._short = used > _TIGHT * self.budgets.total
        if used > _CRITICAL * self.budgets.total:
            _log.warning("%d of %d MiB in use", used // MIB, self.budgets.total // MIB)
            for end in self.on_shortage:
                end()
