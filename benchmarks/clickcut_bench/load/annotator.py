"""A virtual annotator: plays its plan through the Python client and notes how each step went."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from clickcut.client import AsyncClient, AsyncSession
from clickcut.client.access import Access
from clickcut.client.protocol import Deadline, Patience, Sleep
from clickcut.errors import BusyError, ClickcutError
from clickcut_bench.load.plan import Kind, Step, Visit
from clickcut_bench.load.sequences import Sequence as ClickSequence

T = TypeVar("T")

Outcome = Literal["accepted", "failed", "left out"]
"""Left out: the session that the step belongs to could not be opened, or was lost."""


@dataclass
class Event:
    """How a step went; times in seconds from the start of the run.

    Attributes:
        annotator: whose step it was.
        kind: of the step.
        intended: when it was to be made.
        sent: when it was made: later if the one before it was not answered in time.
        late: seconds by which the load generator itself was late; None where the step had to wait
            for the one before it.
        done: when its mask was there, or when it was given up.
        refusals: number of times that the server was busy.
        outcome: in the end.
        error: of a step that failed.
        right: whether its mask was that of an idle server.
        stages: milliseconds on the server by stage.
    """

    annotator: int
    kind: Kind
    intended: float
    sent: float = 0.0
    late: float | None = None
    done: float = 0.0
    refusals: int = 0
    outcome: Outcome = "left out"
    error: str = ""
    right: bool = True
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def latency(self) -> float:
        """Milliseconds from its intended time to its end."""
        return 1e3 * (self.done - self.intended)


class Annotator:
    """Plays visits one after the other.

    Args:
        number: of the annotator.
        address: of the server.
        sequences: that the visits refer to.
        patience: seconds for which a refused step is tried again.
        began: time of `time.perf_counter` at which the run began.
        note: called with each event when it has ended.
        access: shown to the server; None for the token of the environment, if there is one.

    Attributes:
        ended: number of steps that have ended.
    """

    def __init__(
        self,
        number: int,
        address: str,
        sequences: Sequence[ClickSequence],
        patience: float,
        began: float,
        note: Callable[[Event], None],
        access: Access | None = None,
    ) -> None:
        self._number = number
        # Refusals are counted, so they come here; the waiting is that of the client.
        shown = (access or Access()).arguments
        self._client = AsyncClient(address, retry_seconds=0.0, timeout=60.0 + patience, **shown)
        self._sequences = sequences
        self._patience = patience
        self._began = began
        self._note_event = note
        self.ended = 0

    async def play(self, visits: Iterable[Visit]) -> None:
        """Play all visits, then close the connection."""
        try:
            for visit in visits:
                await self._visit(visit)
        finally:
            with contextlib.suppress(ClickcutError):
                await self._client.close()

    def give_up(self, visits: Iterable[Visit]) -> None:
        """Note the steps that have not ended as failed, at the end of the time for the run."""
        steps = [step for visit in visits for step in visit.steps]
        for step in steps[self.ended :]:
            event = Event(self._number, step.kind, step.at, outcome="failed")
            event.sent = event.done = self._now()
            event.error = "not answered by the end of the run"
            self._note(event)

    def _note(self, event: Event) -> None:
        self.ended += 1
        self._note_event(event)

    async def _visit(self, visit: Visit) -> None:
        sequence = self._sequences[visit.sequence]
        session: AsyncSession | None = None
        for step in visit.steps:
            event = Event(self._number, step.kind, step.at)
            if session is None and step.kind != "first click":
                event.sent = event.done = step.at
                self._note(event)
                continue
            await self._sleep_until(event)
            try:
                session = await self._make(step, event, session, sequence, visit.nonce)
            except ClickcutError as error:
                event.outcome, event.error = "failed", f"{type(error).__name__}: {error}"
                session = None  # what follows would be another sequence of clicks
            event.done = self._now()
            self._note(event)
        if session is not None and not visit.abandoned:
            with contextlib.suppress(ClickcutError):
                await session.close()

    async def _make(
        self,
        step: Step,
        event: Event,
        session: AsyncSession | None,
        sequence: ClickSequence,
        nonce: int,
    ) -> AsyncSession:
        """Make one step until it is accepted; return its session."""
        if session is None:
            data = sequence.upload(nonce)
            session = await self._persist(lambda: self._client.open(data), event)
            event.stages = dict(session.timings)
        opened = session
        if step.kind == "undo":
            await self._persist(opened.undo, event)
        else:
            x, y, positive = sequence.clicks[step.click]
            await self._persist(lambda: opened.click(x, y, positive=positive), event)
        for name, ms in opened.timings.items():
            event.stages[name] = event.stages.get(name, 0.0) + ms
        shown = sequence.masks[step.click - (step.kind == "undo")]
        event.right = np.array_equal(opened.mask, shown)
        event.outcome = "accepted"
        return opened

    async def _persist(self, attempt: Callable[[], Awaitable[T]], event: Event) -> T:
        """Try again while the server is busy, as the client does by itself."""
        patience = Patience(Deadline(self._patience, self._patience))
        while True:
            try:
                return await attempt()
            except BusyError as error:
                event.refusals += 1
                for action in patience.wait(error):
                    if isinstance(action, Sleep):
                        await asyncio.sleep(action.seconds)

    async def _sleep_until(self, event: Event) -> None:
        wait = event.intended - self._now()
        if wait > 0:
            await asyncio.sleep(wait)
        event.sent = self._now()
        if wait > 0:
            event.late = event.sent - event.intended

    def _now(self) -> float:
        return time.perf_counter() - self._began
