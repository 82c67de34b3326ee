"""Run long work in a thread that does not keep the process from exiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run `work` in a daemon thread.

    Args:
        work: may raise.
        name: of the thread.

    Returns:
        A future of the running loop. If cancelled, its result is dropped; the work continues.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not done.done():
            set_outcome(outcome)

    def target() -> None:
        try:
            outcome: Any = work()
            set_outcome: Callable[[Any], None] = done.set_result
        except Exception as raised:  # passed to the event loop
            outcome, set_outcome = raised, done.set_exception
        with contextlib.suppress(RuntimeError):  # the loop is closed: shutdown
            loop.call_soon_threadsafe(tell, set_outcome, outcome)

    threading.Thread(target=target, name=name, daemon=True).start()
    return done
