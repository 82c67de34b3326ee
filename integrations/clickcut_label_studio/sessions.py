"""Open sessions on the engine, so that a click on top of the last ones costs one click."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clickcut.client import AsyncClient, AsyncSession
from clickcut.errors import BusyError, ClickcutError, EventError
from clickcut_label_studio.errors import TaskError
from clickcut_label_studio.prompts import Click, Prompt, Request, Selection
from clickcut_label_studio.settings import BackendSettings

Mask = NDArray[np.bool_]
Key = tuple[str, int, int | None, str]
"""Project, task, number of the image in it, id of the object's first region."""


@dataclass(slots=True)
class _Entry:
    """An object that is being selected.

    Attributes:
        lock: held while its prompts are brought up to date.
        session: on the engine; None until it is opened.
        applied: the prompts in it.
        used_at: time of the monotonic clock.
        waiting: requests that hold or wait for the lock.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: AsyncSession | None = None
    applied: list[Prompt] = field(default_factory=list)
    used_at: float = 0.0
    waiting: int = 0


class Sessions:
    """Sessions by object; those that are idle are closed.

    Args:
        client: of the engine.
        settings: how many, and for how long.
    """

    def __init__(self, client: AsyncClient, settings: BackendSettings) -> None:
        self._client = client
        self._settings = settings
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def mask(
        self, request: Request, selection: Selection, image: Callable[[], Awaitable[bytes]]
    ) -> Mask:
        """The mask of an object after its prompts.

        Args:
            request: that it is part of.
            selection: the object.
            image: fetches the image file.

        Returns:
            (H, W) bool, of the image as displayed.

        Raises:
            TaskError: the file has another size than the browser shows.
            ClickcutError: of the image or the engine. The next request starts from nothing.
        """
        key = request.project, request.task, request.item_index, selection.first
        entry = self._entries.get(key)
        if entry is None:
            await self._make_room()
            entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        entry.waiting += 1
        try:
            async with entry.lock:
                return await self._updated(entry, request, selection, image)
        finally:
            entry.waiting -= 1
            entry.used_at = time.monotonic()

    async def _updated(
        self,
        entry: _Entry,
        request: Request,
        selection: Selection,
        image: Callable[[], Awaitable[bytes]],
    ) -> Mask:
        try:
            if entry.session is None:
                entry.session = await self._client.open(await image(), model=self._settings.model)
                _check_size(entry.session, request)
            return await _bring_up_to_date(entry, selection.prompts)
        except EventError:
            raise  # a prompt that is refused changes nothing
        except BaseException:
            await _close(entry)  # it is not known what was applied
            raise

    async def close_idle(self) -> None:
        """Close the sessions that were not used for a while."""
        oldest = time.monotonic() - self._settings.idle_seconds
        for key, entry in list(self._entries.items()):
            if not entry.waiting and entry.used_at < oldest:
                del self._entries[key]
                await _close(entry)

    async def _make_room(self) -> None:
        while len(self._entries) >= self._settings.max_sessions:
            key = next((k for k, e in self._entries.items() if not e.waiting), None)
            if key is None:
                raise BusyError(
                    f"{len(self._entries)} objects are being selected at once; try again, or "
                    "raise --max-sessions"
                )
            await _close(self._entries.pop(key))


def _check_size(session: AsyncSession, request: Request) -> None:
    """See that clicks mean the same pixels to the browser and the engine.

    Raises:
        TaskError: they do not.
    """
    if (session.width, session.height) != (request.width, request.height):
        raise TaskError(
            f"task {request.task}: the browser shows {request.width} x {request.height} pixels, "
            f"and the image file has {session.width} x {session.height}"
        )


async def _bring_up_to_date(entry: _Entry, prompts: tuple[Prompt, ...]) -> Mask:
    """Undo what is no longer there, apply what is new."""
    session, applied = entry.session, entry.applied
    assert session is not None
    common = 0
    while common < min(len(applied), len(prompts)) and applied[common] == prompts[common]:
        common += 1
    while len(applied) > common:
        await session.undo()
        applied.pop()
    for prompt in prompts[common:]:
        if isinstance(prompt, Click):
            await session.click(prompt.x, prompt.y, prompt.positive)
        else:
            await session.box(prompt.x0, prompt.y0, prompt.x1, prompt.y1)
        applied.append(prompt)
    return session.mask


async def _close(entry: _Entry) -> None:
    session, entry.session = entry.session, None
    entry.applied.clear()
    if session is not None:
        with contextlib.suppress(ClickcutError):  # gone with the engine
            await session.close()
