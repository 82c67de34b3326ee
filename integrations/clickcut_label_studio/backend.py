"""Requests of Label Studio -> answers, in time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from clickcut.client import AsyncClient
from clickcut.errors import BackendError, BusyError, ClickcutError, UnavailableError
from clickcut_label_studio.answers import regions
from clickcut_label_studio.errors import LabelStudioUnreachableError, SlowError
from clickcut_label_studio.images import Images
from clickcut_label_studio.prompts import (
    Request,
    Selection,
    labelling_of,
    num_tasks,
    regions_of,
    request_of,
)
from clickcut_label_studio.sessions import Sessions
from clickcut_label_studio.settings import BackendSettings
from clickcut_label_studio.studio import LabelStudio
from clickcut_page.engine import Engine

MAX_REQUESTS = 64
"""That are worked on at once."""
MAX_TIMEOUTS = 3
"""Work that outlasts its answer goes on, so that the next click finds it done; up to this many
times the time of an answer."""
_WATCH_SECONDS, _READY_WATCH_SECONDS = 0.5, 5.0
_PROBE_SECONDS = 5.0


class Backend:
    """Answers requests; made and used in one event loop.

    Args:
        settings: of it.

    Attributes:
        ready: set once Label Studio takes the key and the engine is warm; what is not there later
            shows in `fault`.
        fault: why it cannot answer at the moment; "" when it can.
        version: of the model, as Label Studio shows it.

    Raises:
        LabelStudioError: the URL or the key cannot be ones.
    """

    def __init__(self, settings: BackendSettings) -> None:
        self._settings = settings
        self._studio = LabelStudio(settings.url, settings.api_key)
        self._images = Images(self._studio, settings)
        self._client = AsyncClient(
            settings.server,
            timeout=settings.timeout,
            retry_seconds=settings.timeout / 2,
            **settings.access.arguments,
        )
        self._probe = AsyncClient(
            settings.server,
            timeout=_PROBE_SECONDS,
            retry_seconds=0.0,
            **settings.access.arguments,
        )
        self._engine = Engine(settings.access.endpoint(settings.server))
        self._sessions = Sessions(self._client, settings)
        self._working: set[asyncio.Task[list[dict[str, Any]]]] = set()
        self.ready = asyncio.Event()
        self.fault = "it starts"
        self._noted: type[ClickcutError] | None = None
        self.version = "clickcut"

    # ---- state

    async def watch(self) -> None:
        """Keep `ready` and `fault` up to date; never ends.

        Raises:
            LabelStudioError: Label Studio answers, and refuses the key or is none.
        """
        while True:
            try:
                await asyncio.to_thread(self._studio.check)
                break
            except LabelStudioUnreachableError as error:
                self._note(error)
            await asyncio.sleep(2 * _WATCH_SECONDS)
        while True:
            try:
                self.version = await self._engine_version()
            except ClickcutError as error:
                self._note(error)
            else:
                self.fault, self._noted = "", None
                self.ready.set()
            self._images.forget_idle()
            await self._sessions.close_idle()
            await asyncio.sleep(_WATCH_SECONDS if self.fault else _READY_WATCH_SECONDS)

    def _note(self, error: ClickcutError) -> None:
        """Keep what is wrong; print it once for each kind, as texts count attempts and kernels."""
        self.fault = str(error)
        if self._noted is not type(error):
            self._noted = type(error)
            print(f"waiting   {' '.join(self.fault.split())}", flush=True)

    async def _engine_version(self) -> str:
        """The model in use, as Label Studio shows it.

        Raises:
            ClickcutError: the engine is not there, not warm, refuses, or lacks the model.
        """
        wanted, models = self._settings.model, await self._probe.models()
        if not await self._engine.is_serving():
            raise UnavailableError(f"the engine at {self._settings.server} is warming up")
        for model in models:
            name = f"{model.name}@{model.version}"
            if wanted in ("", model.name, name):
                return f"clickcut {name}"
        raise BackendError(f"the engine at {self._settings.server} has no model {wanted!r}")

    async def close(self) -> None:
        """End all work."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        self._images.close()
        for client in (self._client, self._probe):
            with contextlib.suppress(ClickcutError):
                await client.close()
        await self._engine.close()

    # ---- answers

    def setup(self, document: dict[str, Any]) -> dict[str, Any]:
        """Answer `/setup`: see that the labelling configuration can be used.

        The access token that Label Studio sends along is not used and not kept.

        Raises:
            TaskError: what the configuration lacks.
        """
        labelling_of(document, "schema").check()
        return {"model_version": self.version}

    async def predict(self, document: dict[str, Any]) -> dict[str, Any]:
        """Answer `/predict`: regions for the clicks.

        Where Label Studio asks for predictions without clicks, which it does when a task is opened,
        it gets an empty list for each task: it would show an empty prediction as one.

        Raises:
            ClickcutError: it cannot be answered, or not in time.
        """
        clicked = regions_of(document)
        if clicked is None:
            return {"results": [[] for _ in range(num_tasks(document))]}
        found = await self._in_time(request_of(document)) if clicked else []
        return {"results": [{"model_version": self.version, "result": found}]}

    async def _in_time(self, request: Request) -> list[dict[str, Any]]:
        if len(self._working) >= MAX_REQUESTS:
            raise BusyError(f"{MAX_REQUESTS} requests are being answered; try again")
        limit = self._settings.timeout
        task = asyncio.create_task(self._bounded(request, MAX_TIMEOUTS * limit))
        self._working.add(task)
        task.add_done_callback(self._done)
        finished, _ = await asyncio.wait({task}, timeout=limit)
        if not finished:
            raise SlowError(
                f"task {request.task}: no answer within {limit:g} s; the work goes on, so click "
                "again in a moment"
            )
        return task.result()

    def _done(self, task: asyncio.Task[list[dict[str, Any]]]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left

    async def _bounded(self, request: Request, seconds: float) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(seconds):
                parts = [await self._answer(request, item) for item in request.selections]
        except TimeoutError as error:
            raise SlowError(f"task {request.task}: given up after {seconds:g} s") from error
        return [region for part in parts for region in part]

    async def _answer(self, request: Request, selection: Selection) -> list[dict[str, Any]]:
        # Before any work: does the configuration have the label?
        request.labelling.answer(request.image_name, selection.label, self._settings.shape)
        mask = await self._sessions.mask(
            request, selection, lambda: self._images.get(request.image, request.task)
        )
        return await asyncio.to_thread(regions, request, selection, mask, self._settings)
