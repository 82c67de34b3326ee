"""What all requests share: pool, images, sessions, models, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from clickcut.errors import ClickcutError, ServerError, UnavailableError
from clickcut.image_file.process import Decoder
from clickcut.images import ImageLimits
from clickcut.server.image_store import ImageStore
from clickcut.server.metrics import Metrics
from clickcut.server.model_registry import Models
from clickcut.server.pool import ComputePool
from clickcut.server.session_store import SessionStore
from clickcut.server.settings import MIB, Settings

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Core:
    """The state of a server. Used from the event loop only, except what the pool is given.

    Attributes:
        ready: set when warm; before, nothing is computed.
        draining: set at shutdown; from then on nothing new begins.
    """

    def __init__(self, settings: Settings, models: Models, workers: int) -> None:
        self.settings = settings
        self.models = models
        self.pool = ComputePool(workers, settings.queue)
        limits = ImageLimits(
            max_bytes=settings.max_image_mib * MIB,
            max_pixels=int(settings.max_image_megapixels * 1e6),
        )
        self.decoder = Decoder(settings.decode_seconds, settings.decode_memory_mib * MIB)
        self.images = ImageStore(settings.image_memory_mib * MIB, limits, self.pool, self.decoder)
        self.sessions = SessionStore(self.images, settings)
        self.metrics = Metrics(self.pool, self.images, self.sessions)
        self.ready = False
        self.draining = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def check_accepting(self) -> None:
        """Whether new work may begin.

        Raises:
            UnavailableError: no.
        """
        if self.draining:
            raise UnavailableError("the server is shutting down; try another one, or again later")
        if not self.ready:
            raise UnavailableError(
                "the server is warming up; try again in a few seconds (its health says SERVING "
                "when it is ready)"
            )

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work that goes on to its end also when the caller is cancelled."""
        return await asyncio.shield(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that goes on to its end whether or not it is awaited."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when the caller has gone

    def known_error(self, error: Exception) -> ClickcutError:
        """An error that a client may see; anything unexpected is logged and hidden behind one."""
        if not isinstance(error, ClickcutError):
            _log.error("unexpected error", exc_info=error)
            error = ServerError("internal error; the server's log has the details")
        self.metrics.count_error(error)
        return error

    async def sweep(self) -> None:
        """Evict what is not used any more, from time to time, until cancelled."""
        shortest = min(self.settings.idle_seconds, self.settings.resume_seconds)
        while True:
            await asyncio.sleep(min(5.0, shortest / 4))
            self.sessions.drop_unused()
            self.images.trim()
