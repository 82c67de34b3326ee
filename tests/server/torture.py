"""Servers that are killed and lines that are cut at random moments, under clients that work.

Each client makes random events in sessions on servers that share a store, writes down those that
were acknowledged and the mask of each, and in the end makes them in a session on a server that
nothing happens to: all masks must be equal. A session must keep its id: a client that finds its
session lost replays its own events, which would hide a loss.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.harness import Line, ServerProcess, image_file, wait_until
from server.nursery import ForkedServer, Nursery

from clickcut.client import Client
from clickcut.client.synchronous import Session
from clickcut.errors import ClickcutError

WIDTH, HEIGHT = 160, 120
PATIENCE = 600.0
"""Seconds after which a call that should succeed has not."""

_SLOW = """
import random, time
from clickcut.store.redis import RedisStore
from clickcut.store.sqlite import SqliteStore
def slowly(commit):
    def slow(self, writes):
        time.sleep(random.uniform(0, 0.1))
        return commit(self, writes)
    return slow
for store in (RedisStore, SqliteStore):
    store.commit = slowly(store.commit)
"""
"""Makes stores slow: an event that is acknowledged too early is then easily lost."""

Action = tuple[Any, ...]
"""Name of a session's method and its arguments."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens.

    Attributes:
        clients: at once.
        servers: that share the store.
        cuts: of connections, one client's at a time.
        kills: of servers, by SIGKILL; each is started again.
        events: of a session, at most.
        pause: between two faults, at most, seconds.
        seed: of all that is random.
    """

    clients: int
    servers: int
    cuts: int
    kills: int
    events: int
    pause: float
    seed: int


def torture(
    bundle: Path, folder: Path, store: str, plain: ServerProcess, plan: Plan
) -> Counter[str]:
    """Run a plan.

    Args:
        bundle: to serve.
        folder: for what servers print.
        store: that they share.
        plain: the server that nothing happens to.
        plan: what happens.

    Returns:
        What was counted.
    """
    rng = random.Random(plan.seed)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    with ExitStack() as at_end:
        settings = {"store": store, "model": [str(bundle)], "workers": 1, "threads": 1}
        fleet = Fleet(folder, settings, plan.servers)
        at_end.callback(fleet.stop)
        lines = [at_end.enter_context(Line(fleet.port(rng))) for _ in range(plan.clients)]
        over = threading.Event()
        pool = at_end.enter_context(ThreadPoolExecutor(plan.clients))
        workers = [
            pool.submit(work, line.address, plain.address, seed, plan.events, over, counts)
            for seed, line in enumerate(lines, plan.clients * plan.seed)
        ]
        at_end.callback(over.set)
        faults = ["cut"] * plan.cuts + ["kill"] * plan.kills
        rng.shuffle(faults)
        for fault in faults:
            time.sleep(rng.uniform(0, plan.pause))
            stop_early(workers)
            if fault == "kill":
                fleet.kill_one(rng)
            else:
                line = rng.choice(lines)
                line.cut()
                line.lead_to(fleet.port(rng))
                line.mend()
            counts[fault] += 1
            if (counts["cut"] + counts["kill"]) % 20 == 0:
                print(f"{time.monotonic() - began:.0f} s: {dict(counts)}", flush=True)
        over.set()
        for worker in workers:
            worker.result(PATIENCE)
        log = fleet.log
        assert "Traceback" not in log, log
        assert "cannot be restored" not in log, log
    return counts


def stop_early(workers: list[Future[None]]) -> None:
    """Raise the error of a client that has ended."""
    for worker in workers:
        if worker.done():
            worker.result()


class Fleet:
    """Servers with a store in common, each on a port of its own.

    Args:
        folder: for what they print.
        settings: of each.
        count: number of servers.
    """

    def __init__(self, folder: Path, settings: dict[str, object], count: int) -> None:
        self._nursery = Nursery(folder, settings, _SLOW)
        self._servers: list[ForkedServer] = []
        self._running: dict[int, ForkedServer] = {}
        self._starting: list[threading.Thread] = []
        for _ in range(count):
            server = self._start(0)
            self._running[server.wait()] = server
        self._ports = list(self._running)

    @property
    def log(self) -> str:
        """What all servers printed and logged."""
        return "".join(server.said for server in self._servers)

    def port(self, rng: random.Random) -> int:
        """The port of a server that runs, or of any if none does."""
        return rng.choice(list(self._running) or self._ports)

    def kill_one(self, rng: random.Random) -> None:
        """Kill a server and start it again, in the background."""
        wait_until(lambda: bool(self._running), "a server runs again", PATIENCE)
        port = rng.choice(list(self._running))
        self._running.pop(port).kill()
        server = self._start(port)

        def welcome() -> None:
            server.wait()
            self._running[port] = server

        self._starting = [t for t in self._starting if t.is_alive()]
        self._starting.append(threading.Thread(target=welcome))
        self._starting[-1].start()

    def _start(self, port: int) -> ForkedServer:
        self._servers.append(self._nursery.start(port))
        return self._servers[-1]

    def stop(self) -> None:
        for thread in self._starting:
            thread.join(PATIENCE)
        self._nursery.stop()


# ---- a client


def work(
    address: str, plain: str, seed: int, events: int, over: threading.Event, counts: Counter[str]
) -> None:
    """Open session after session, until it is over, and check each."""
    rng = random.Random(seed)
    image = image_file(WIDTH, HEIGHT, seed % 4)
    with Client(address, retry_seconds=PATIENCE, timeout=PATIENCE) as client:
        while not over.is_set():
            with opened(client, image) as session:
                done = events_of(session, rng, events, over, counts)
            with (
                Client(plain, retry_seconds=PATIENCE, timeout=PATIENCE) as other,
                opened(other, image) as undisturbed,
            ):
                for at, (action, mask) in enumerate(done):
                    perform(undisturbed, action)
                    same = digest(undisturbed) == mask
                    assert same, f"client {seed}, event {at} of {len(done)}: {action}"
            counts["sessions"] += 1
            counts["acknowledged"] += len(done)


@contextmanager
def opened(client: Client, image: bytes) -> Iterator[Session]:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            session = client.open(image)
            break
        except ClickcutError:
            assert time.monotonic() < end, "no session can be opened"
    with session:
        yield session


def events_of(
    session: Session, rng: random.Random, most: int, over: threading.Event, counts: Counter[str]
) -> list[tuple[Action, str]]:
    """Make random events; return those that are in the session, each with the mask after it."""
    done: list[tuple[Action, str]] = []
    session_id = session.id
    while len(done) < most and not (over.is_set() and len(done) > 3):
        action = random_action(session, rng)
        known = applied(session)
        try:
            perform(session, action)
        except ClickcutError as error:
            counts[type(error).__name__] += 1
            find_again(session)  # a dropped event may have been applied, too
        if applied(session) > known:
            done.append((action, digest(session)))
        assert applied(session) == len(done), f"{applied(session)} applied, {len(done)} made"
        assert session.id == session_id, "the session was lost and replayed"
        time.sleep(rng.uniform(0, 0.05))
    find_again(session)
    assert not done or digest(session) == done[-1][1]
    return done


def find_again(session: Session) -> None:
    """Reach the session after an error, which tells whether the last event was applied."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            session.objects()
            return
        except ClickcutError:
            assert time.monotonic() < end, "the session cannot be reached"


def applied(session: Session) -> int:
    """Number of events that the client knows to be in the session."""
    return len(session._conversation._events)


def digest(session: Session) -> str:
    return hashlib.sha256(session.mask.tobytes()).hexdigest()


def random_action(session: Session, rng: random.Random) -> Action:
    x, y = rng.randrange(WIDTH), rng.randrange(HEIGHT)
    kind = rng.random()
    if kind < 0.1 and session.can_undo:
        return ("undo",)
    if kind < 0.15 and session.can_redo:
        return ("redo",)
    if kind < 0.25 and session.clicks:
        return ("move_click", rng.randrange(session.num_clicks), x, y)
    if kind < 0.3:
        return ("next_object", rng.random() < 0.5)
    if kind < 0.35:
        return ("edit_object", rng.randrange(session.num_objects))
    if kind < 0.4:
        return ("box", x // 2, y // 2, x // 2 + 40, y // 2 + 30)
    if kind < 0.43:
        return ("reset",)
    return ("click", x, y, rng.random() < 0.6)


def perform(session: Session, action: Action) -> None:
    name, *arguments = action
    getattr(session, name)(*arguments)
