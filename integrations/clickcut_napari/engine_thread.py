"""The engine beside the window: one thread that holds the client and its sessions.

Tasks run in the order in which they are given. Their results are handed to `deliver`, which brings
them to the window's thread. Nothing here knows Qt or napari.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clickcut.clicks import PlacedClick
from clickcut.client import Client, Session
from clickcut.client.replies import ModelInfo
from clickcut.client.waiting import wait_until_serving
from clickcut.errors import (
    BusyError,
    ClickcutError,
    ServerError,
    StalledError,
    UnavailableError,
    UsageError,
)
from clickcut.region import Region
from clickcut.selection import bounding_box
from clickcut_napari.look import Look
from clickcut_page.own_engine import OwnEngine

T = TypeVar("T")

MAX_SESSIONS = 8
"""Sessions kept open, each on a plane; the others are rebuilt from their clicks."""

TIMEOUT_SECONDS, RETRY_SECONDS = 60.0, 30.0
CONNECT_SECONDS = 30.0
START_SECONDS = 300.0
"""For an engine of our own: the first start on a machine compiles the kernels."""

STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Result:
    """State of a session after an event.

    Attributes:
        mask: (H, W) bool, read-only.
        box: the smallest region with all of it; None when it is empty.
        clicks: in force, in the order made.
        can_undo: whether there is something to undo.
        can_redo: whether there is something to redo.
    """

    mask: NDArray[np.bool_]
    box: Region | None
    clicks: tuple[PlacedClick, ...]
    can_undo: bool
    can_redo: bool

    @staticmethod
    def of(session: Session) -> Result:
        """Return the state of a session."""
        mask = session.mask
        return Result(
            mask,
            bounding_box(mask),
            tuple(session.clicks),
            session.can_undo,
            session.can_redo,
        )


@dataclass(slots=True)
class _Held:
    """What is held for a plane.

    Attributes:
        look: the picture that the session is on.
        session: None when it was closed to save memory.
        clicks: of the current object, in force.
        next: whether the next event begins another object.
    """

    look: Look
    session: Session | None = None
    clicks: tuple[PlacedClick, ...] = ()
    next: bool = False


class Engine:
    """The connection and the sessions, one for each plane; used in the engine's thread only.

    Args:
        stopped: set when nothing is to be waited for any more.
    """

    def __init__(self, stopped: threading.Event | None = None) -> None:
        self._stopped = stopped or threading.Event()
        self._client: Client | None = None
        self._own: OwnEngine | None = None
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()

    def connect(self, address: str) -> str:
        """Connect to an engine, and wait until it is warm.

        Args:
            address: HOST:PORT; "" to start one.

        Returns:
            What it is, for people.

        Raises:
            ClickcutError: it is not there, or the address is none. One that comes later is used.
        """
        self.disconnect()
        wait = CONNECT_SECONDS
        if not address:
            self._own = OwnEngine()
            address, wait = self._own.address, START_SECONDS
        self._client = Client(address, timeout=TIMEOUT_SECONDS, retry_seconds=RETRY_SECONDS)
        model = self._wait(address, wait)
        where = "own engine" if self._own else address
        return f"{where}, model {model.name} {model.version}"

    def _wait(self, address: str, seconds: float) -> ModelInfo:
        """Wait for the engine in short steps, so that closing the window ends it."""
        end = time.monotonic() + seconds
        with Client(address, timeout=5.0, retry_seconds=0.5) as client:
            while True:
                try:
                    return wait_until_serving(client, 1.0)[0]
                except (UnavailableError, StalledError, BusyError):
                    if self._stopped.is_set() or time.monotonic() > end:
                        raise

    def act(self, look: Look, *events: Callable[[Session], object]) -> Result:
        """Apply events to the session of a plane, all or none.

        A session is opened where there is none, or where the plane now looks different; it is
        brought to the clicks in force first.

        Args:
            look: of the plane.
            events: each gets the session.

        Raises:
            ClickcutError: one cannot be applied; clicks and mask are as they were.
        """
        held = self._held.setdefault(look.plane.key, _Held(look))
        self._held.move_to_end(look.plane.key)
        if held.look.signature != look.signature:
            self._release(held)
            held.look = look
        if held.session is None:
            held.session = self._opened(look, held.clicks)
            held.next = False
        elif held.next:
            held.session.next_object(exclude_finished=True)
            held.next = False
        applied = 0
        try:
            for event in events:
                event(held.session)
                applied += 1
        except ClickcutError:
            self._take_back(held, applied)
            raise
        result = Result.of(held.session)
        held.clicks = result.clicks
        return result

    def next_object(self, plane: Hashable) -> None:
        """Make the next event of a plane begin another object."""
        if plane in self._held:
            self._held[plane].clicks, self._held[plane].next = (), True

    def forget(self) -> None:
        """Close all sessions; the next click on a plane opens a new one."""
        while self._held:
            self._release(self._held.popitem()[1])

    def disconnect(self) -> None:
        """Close sessions and client; stop the engine if it is our own."""
        for held in self._held.values():
            self._release(held)
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._own is not None:
            self._own.stop()
            self._own = None

    def _opened(self, look: Look, clicks: tuple[PlacedClick, ...]) -> Session:
        if self._client is None:
            raise UsageError("there is no engine; press Connect")
        opened = [held for held in self._held.values() if held.session is not None]
        for held in opened[: max(0, len(opened) - MAX_SESSIONS + 1)]:
            self._release(held)
        session = self._client.open(look.draw())
        for click in clicks:
            session.click(click.x, click.y, click.positive)
        return session

    def _take_back(self, held: _Held, number: int) -> None:
        """Undo events; if that fails as well, the session is built again from its clicks."""
        try:
            for _ in range(number):
                if held.session is not None:
                    held.session.undo()
        except ClickcutError:
            self._release(held)

    @staticmethod
    def _release(held: _Held) -> None:
        if held.session is not None:
            with contextlib.suppress(ClickcutError):  # the engine evicts what cannot be closed
                held.session.close()
            held.session = None


class EngineThread:
    """Runs tasks with an engine.

    Args:
        deliver: called in the engine's thread with a function to be called in the window's.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], None]) -> None:
        self._deliver = deliver
        self._tasks: queue.SimpleQueue[Callable[[Engine], None] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clickcut-engine", daemon=True)
        self._thread.start()
        atexit.register(self.join)

    def submit(
        self,
        task: Callable[[Engine], T],
        done: Callable[[T], None],
        failed: Callable[[ClickcutError], None],
    ) -> None:
        """Run a task after those before it.

        Args:
            task: gets the engine.
            done: called in the window's thread with its result.
            failed: called in the window's thread with its error.
        """

        def run(engine: Engine) -> None:
            try:
                result = task(engine)
            except ClickcutError as error:
                self._hand_over(failed, error)
            except Exception as error:  # reading samples runs code of others
                text = f"{type(error).__name__}: {error}"
                self._hand_over(failed, ServerError(f"the task failed ({text})"))
            else:
                self._hand_over(done, result)

        self._tasks.put(run)

    def _hand_over(self, receive: Callable[[Any], None], value: object) -> None:
        if not self._stopped.is_set():
            self._deliver(lambda: receive(value))

    def _run(self) -> None:
        engine = Engine(self._stopped)
        try:
            while (task := self._tasks.get()) is not None and not self._stopped.is_set():
                task(engine)
        finally:
            engine.disconnect()
            atexit.unregister(self.join)

    def stop(self) -> None:
        """Stop after the present task; does not wait, and nothing is delivered any more."""
        self._stopped.set()
        self._tasks.put(None)

    def join(self) -> None:
        """Stop, and wait until the engine is closed."""
        self.stop()
        self._thread.join(STOP_SECONDS)
