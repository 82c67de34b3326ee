"""`clickcut bench scale`: replicas behind Ray Serve's proxy, beside a plain server.

All servers run at the same time and are measured in turns, so that what else the machine does
falls on all alike. Two loads: one session alone, whose clicks show what the way through the proxy
costs, and a closed loop of sessions without think time, which shows the throughput. In a closed
loop the sessions wait for their replies, so the latencies of the second load are those of a server
that is always full, not those of annotators; for these there is `clickcut bench load`, which takes
the address of any server. Processor time is counted for all processes of a server, Ray's included.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickcut.client import Client, Session
from clickcut.commands.demo import running_server
from clickcut.errors import BackendError
from clickcut_bench.load.numbers import percentiles
from clickcut_bench.load.sequences import Sequence as ClickSequence
from clickcut_bench.load.sequences import photographs, record
from clickcut_eval.machine import describe

PLAIN = "plain server"
_IDLE_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        replicas: numbers of replicas.
        sessions: sessions of the closed loop.
        seconds: of each closed loop.
        alone: clicks of the single session in each round.
        rounds: in each of which every server is measured once.
        size: width and height of the photographs, pixels.
        images: number of photographs.
        data: as of `clickcut_bench.photographs.targets`.
    """

    replicas: tuple[int, ...] = (1, 2)
    sessions: int = 8
    seconds: float = 10.0
    alone: int = 60
    rounds: int = 3
    size: tuple[int, int] = (500, 375)
    images: int = 4
    data: str = ""


def run(plan: Plan, json_path: Path | None) -> dict[str, Any]:
    """Measure; print a table; write JSON when a path is given.

    Raises:
        BackendError: a server cannot be started, or masks differ between servers.
    """
    shown = photographs(plan.data, plan.size, plan.images)
    servers: dict[str, _Seen] = {}
    with contextlib.ExitStack() as stack:
        servers[PLAIN] = _started(stack, running_server())
        for count in plan.replicas:
            command = ("scale", "up", "--port", "0", "--replicas", str(count))
            name = f"{count} replica{'s' if count > 1 else ''}"
            servers[name] = _started(stack, running_server(command=command))
        with Client(servers[PLAIN].address) as client:
            found = [record(client, photograph, 6) for photograph in shown]
        sequences = [sequence for sequence in found if sequence is not None]
        _idle(servers.values())
        for _ in range(plan.rounds):
            for seen in servers.values():
                with Client(seen.address) as client:
                    _alone(client, sequences, plan.alone, seen)
                    _crowd(client, sequences, plan, seen)
    document = {
        "machine": describe(),
        "plan": asdict(plan),
        "servers": {name: seen.summary() for name, seen in servers.items()},
    }
    show(document)
    if json_path:
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    return document


class _Seen:
    """What was measured at one server; milliseconds.

    Args:
        address: of the server.
        process: its root process, of psutil; None: processor time is not counted.
    """

    def __init__(self, address: str = "", process: Any = None) -> None:
        self.address = address
        self.alone: list[float] = []
        self.way: list[float] = []
        """Of the same clicks: the time that the server does not account for."""
        self.crowd: list[float] = []
        self.rates: list[float] = []
        self.idle_cores = 0.0
        self.processor: list[float] = []
        """Milliseconds per click, without what the server needs when it is idle."""
        self._process = process

    def processor_seconds(self) -> float:
        """Return the processor time of all its processes up to now."""
        import psutil  # type: ignore[import-untyped]

        if self._process is None:
            return 0.0
        spent = 0.0
        for process in [self._process, *self._process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has just ended
                times = process.cpu_times()
                spent += times.user + times.system
        return spent

    def summary(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            "alone": percentiles(self.alone),
            "way": percentiles(self.way),
            "crowd": percentiles(self.crowd),
            "clicks per second": self.rates,
            "idle cores": self.idle_cores,
            "processor ms per click": self.processor,
        }


def _started(stack: contextlib.ExitStack, server: contextlib.AbstractContextManager[str]) -> _Seen:
    """Start a server, until the stack ends."""
    import psutil

    own = psutil.Process()
    before = {process.pid for process in own.children()}
    address = stack.enter_context(server)
    (process,) = (process for process in own.children() if process.pid not in before)
    return _Seen(address, process)


def _idle(servers: Iterable[_Seen]) -> None:
    """Measure what the servers need while idle."""
    before = [(seen, time.perf_counter(), seen.processor_seconds()) for seen in servers]
    time.sleep(_IDLE_SECONDS)
    for seen, began, spent in before:
        seen.idle_cores = (seen.processor_seconds() - spent) / (time.perf_counter() - began)


def _clicks(
    session: Session, sequence: ClickSequence, note: Callable[[float, Session], None]
) -> Iterator[None]:
    """Click through a sequence again and again; the first click of a turn is not noted."""
    for k in itertools.count():
        at = k % len(sequence.clicks)
        if at == 0 and k:
            session.reset()
        x, y, positive = sequence.clicks[at]
        began = time.perf_counter()
        mask = session.click(x, y, positive=positive)
        if at:
            note(1e3 * (time.perf_counter() - began), session)
        if k < len(sequence.clicks) and not np.array_equal(mask, sequence.masks[at]):
            raise BackendError("a server gives another mask than the plain server did")
        yield


def _alone(client: Client, sequences: Sequence[ClickSequence], count: int, seen: _Seen) -> None:
    def note(spent: float, session: Session) -> None:
        seen.alone.append(spent)
        seen.way.append(spent - session.timings["total"])

    with client.open(sequences[0].file) as session:
        for _ in itertools.islice(_clicks(session, sequences[0], note), count):
            pass


def _crowd(client: Client, sequences: Sequence[ClickSequence], plan: Plan, seen: _Seen) -> None:
    """Run the closed loop; note the clicks per second of all sessions together."""
    made = [0] * plan.sessions
    failed: list[BaseException] = []
    start = threading.Barrier(plan.sessions + 1)
    end = threading.Event()

    def work(number: int) -> None:
        sequence = sequences[number % len(sequences)]
        try:
            with client.open(sequence.file) as session:
                clicks = _clicks(session, sequence, lambda spent, _: seen.crowd.append(spent))
                next(clicks)
                start.wait()
                for _ in clicks:
                    if end.is_set():
                        return
                    made[number] += 1
        except BaseException as error:
            failed.append(error)
            start.abort()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(plan.sessions)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        start.wait()
    began, spent = time.perf_counter(), seen.processor_seconds()
    end.wait(0 if failed else plan.seconds)
    seconds, spent = time.perf_counter() - began, seen.processor_seconds() - spent
    clicks = sum(made)
    end.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    seen.rates.append(clicks / seconds)
    seen.processor.append(1e3 * (spent - seen.idle_cores * seconds) / max(1, clicks))


def show(document: dict[str, Any]) -> None:
    """Print the table."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    machine, plan = document["machine"], document["plan"]
    console = Console()
    console.print(f"{machine['cpu']}, {machine['cores']} cores; {plan['rounds']} rounds in turns")
    table = Table(
        "server",
        "p50",
        "p95",
        "p99",
        "way",
        "per s",
        "p50",
        "p95",
        "p99",
        "CPU",
        "idle",
        box=SIMPLE,
        title=f"Later clicks: one session alone; {plan['sessions']} in a closed loop",
        caption="milliseconds; CPU: of all processes per click, and cores in use when idle",
        padding=(0, 0),
    )
    for name, row in document["servers"].items():
        alone, crowd = row["alone"], row["crowd"]
        table.add_row(
            name,
            *(f"{alone[p]:.1f}" for p in ("p50", "p95", "p99")),
            f"{row['way']['p50']:.1f}",
            f"{np.median(row['clicks per second']):.1f}",
            *(f"{crowd[p]:.0f}" for p in ("p50", "p95", "p99")),
            f"{np.median(row['processor ms per click']):.1f}",
            f"{row['idle cores']:.2f}",
        )
    console.print(table)
