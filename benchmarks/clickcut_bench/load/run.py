"""Play a load against one server or several, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from clickcut.client import Client
from clickcut.client.access import Access
from clickcut.commands.demo import running_server
from clickcut.errors import BackendError
from clickcut_bench.load import report
from clickcut_bench.load.annotator import Annotator, Event
from clickcut_bench.load.numbers import summarise
from clickcut_bench.load.plan import Habits, plan
from clickcut_bench.load.sequences import Sequence as ClickSequence
from clickcut_bench.load.sequences import photographs, record
from clickcut_bench.load.watch import Watch, process_of
from clickcut_eval.machine import describe

END_SECONDS = 60.0
"""Seconds after the end of a run for steps that are still unanswered."""


@dataclass(frozen=True)
class Load:
    """What is played.

    Attributes:
        annotators: their numbers, one run each.
        seconds: of a run.
        warm_up: seconds at its beginning in which the annotators arrive; not counted.
        habits: of the annotators.
        clicks: of a session at most.
        images: number of different photographs.
        size: width and height of the photographs; None: as they are.
        data: as of `clickcut_bench.photographs.targets`.
        patience: seconds for which a refused step is tried again.
        seed: of all random numbers.
    """

    annotators: tuple[int, ...] = (20,)
    seconds: float = 60.0
    warm_up: float = 10.0
    habits: Habits = field(default_factory=Habits)
    clicks: int = 6
    images: int = 8
    size: tuple[int, int] | None = (500, 375)
    data: str = ""
    patience: float = 30.0
    seed: int = 0


def run(
    load: Load,
    servers: Sequence[tuple[str, str]],
    options: Sequence[str],
    json_path: Path | None,
    plot_path: Path | None,
    access: Access | None = None,
) -> dict[str, Any]:
    """Measure; print tables; write JSON and plot when paths are given.

    Args:
        load: what is played.
        servers: names and addresses of running servers; none: one is started for the time.
        options: of `clickcut serve`, for a server that is started.
        json_path: of the numbers.
        plot_path: of the plot.
        access: shown to the servers; None for the token of the environment, if there is one.

    Raises:
        BackendError: a server cannot be started.
        ClickcutError: a server that was named cannot be reached.
        DatasetError: the photographs cannot be read.
    """
    access = access or Access()
    shown = photographs(load.data, load.size, load.images)
    document: dict[str, Any] = {
        "machine": describe(),
        "load": asdict(load),
        "server options": list(options),
        "runs": [],
    }
    timelines = []
    with contextlib.ExitStack() as stack:
        if not servers:
            servers = [("server", stack.enter_context(running_server(*options)))]
        recorded = {}
        for name, address in servers:
            with Client(address, **access.arguments) as client:
                found = [record(client, p, load.clicks) for p in shown]
                recorded[name] = [sequence for sequence in found if sequence is not None]
            if not recorded[name]:
                raise BackendError("no photograph has an object to click on; give other --data")
        for annotators in load.annotators:
            for name, address in servers:
                events, seen = play(load, annotators, address, recorded[name], name, access)
                numbers = summarise(events, load.warm_up, load.seconds)
                row = {"server": name, "annotators": annotators} | numbers | seen
                document["runs"].append(row)
                timelines.append((row, events))
    report.show(document)
    if json_path:
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    if plot_path:
        report.plot(document, timelines, plot_path)
    return document


def play(
    load: Load,
    annotators: int,
    address: str,
    sequences: Sequence[ClickSequence],
    name: str,
    access: Access | None = None,
) -> tuple[list[Event], dict[str, Any]]:
    """Play one run.

    Returns:
        The events, and what `Watch` saw.
    """
    events: list[Event] = []
    watch = Watch(process_of(address))
    watch.start()
    try:
        with _progress(load.seconds, f"{annotators} annotators, {name}") as note:

            def ended(event: Event) -> None:
                events.append(event)
                note(event)

            asyncio.run(_crowd(load, annotators, address, sequences, access, ended))
    finally:
        seen = watch.stop()
    return events, seen


async def _crowd(
    load: Load,
    annotators: int,
    address: str,
    sequences: Sequence[ClickSequence],
    access: Access | None,
    note: Callable[[Event], None],
) -> None:
    plans = plan(
        annotators,
        load.seconds,
        load.warm_up,
        load.habits,
        [len(s.clicks) for s in sequences],
        load.seed,
    )
    began = time.perf_counter()
    players = [
        Annotator(number, address, sequences, load.patience, began, note, access)
        for number in range(annotators)
    ]
    try:
        async with asyncio.timeout(load.seconds + load.patience + END_SECONDS):
            await asyncio.gather(*map(Annotator.play, players, plans))
    except TimeoutError:
        for player, visits in zip(players, plans, strict=True):
            player.give_up(visits)


@contextlib.contextmanager
def _progress(seconds: float, title: str) -> Iterator[Callable[[Event], None]]:
    """Show a bar over the time of the run; yield what to call with each event."""
    counts = {"accepted": 0, "failed": 0, "left out": 0}
    refusals = 0
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=seconds, counts="")

        def note(event: Event) -> None:
            nonlocal refusals
            counts[event.outcome] += 1
            refusals += event.refusals
            text = f"{counts['accepted']} accepted, {refusals} refusals, {counts['failed']} failed"
            bar.update(task, completed=min(seconds, max(0.0, event.intended)), counts=text)

        yield note
