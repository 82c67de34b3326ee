"""A piece of work for the compute pool, in steps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from clickcut.errors import BusyError, StalledError
from clickcut.server.peers import Peer

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work that yields between its steps and returns its result."""


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """Work that a caller waits for.

    Attributes:
        steps: of the work.
        peer: in whose turns it runs.
        future: its result, and how long it waited, in milliseconds.
        asked: time of the request, or of the end of its last step.
        deadline: time after which no further step begins; None for none. All times are those of
            `time.perf_counter`.
        continues: whether it goes ahead of others, see `ComputePool.run_steps`.
        waited: seconds for which it waited for turns.
        started: whether it has had a turn.
        given_up: whether its caller is gone.
        context: of its caller: what the log and traces say about the request.
    """

    steps: Steps[T]
    peer: Peer
    future: asyncio.Future[tuple[T, float]]
    asked: float
    deadline: float | None
    continues: bool = False
    waited: float = 0.0
    started: bool = False
    given_up: bool = False
    context: Context = field(default_factory=copy_context)

    @property
    def late(self) -> bool:
        """Whether no further step may begin."""
        return self.deadline is not None and time.perf_counter() >= self.deadline

    def settle(self, result: T | None, error: BaseException | None) -> None:
        """Pass the outcome to the event loop, from any thread."""

        def tell() -> None:
            if self.future.done():
                return
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result((result, 1e3 * self.waited))  # type: ignore[arg-type]

        with contextlib.suppress(RuntimeError):  # the loop has closed: the server was stopped
            self.future.get_loop().call_soon_threadsafe(tell)


def one_step(work: Callable[[], T]) -> Steps[T]:
    """Return work in a single step."""
    return work()
    yield


def too_late(job: Job[Any], wait: float) -> BusyError | StalledError:
    """Return the error of work whose time is up.

    Args:
        job: that is ended.
        wait: expected seconds that a new job waits.
    """
    spent = time.perf_counter() - job.asked
    if not job.started:
        return BusyError(
            f"the server is busy: the request waited {spent:.0f} s for a worker; try again later, "
            "or give the server more --workers",
            reason="wait",
            retry_after=wait,
        )
    return StalledError(
        "the request was not finished in time: send fewer clicks in one request, or use a session, "
        "or start the server with a larger --request-seconds",
        reason="deadline",
    )
