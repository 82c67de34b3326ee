"""`clickcut eval run`: methods x data sets, resumable, on all cores or many machines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clickcut.processor import available_cpus
from clickcut_eval.data_spec import DataSpec
from clickcut_eval.datasets import Dataset, open_dataset
from clickcut_eval.jobs import Job
from clickcut_eval.machine import describe as describe_machine
from clickcut_eval.methods import MethodSpec, build, describe
from clickcut_eval.pools import on_processes, on_ray
from clickcut_eval.protocol import Protocol
from clickcut_eval.store import Run
from clickcut_eval.tables import print_tables, write_tables
from clickcut_eval.targets import Target

T = TypeVar("T")

Opened = dict[str, tuple[Dataset, list[Target]]]


def run(
    data: Sequence[DataSpec],
    methods: Sequence[MethodSpec],
    out: Path,
    protocol: Protocol,
    *,
    limit: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    command: str = "",
    console: Console | None = None,
) -> Run:
    """Measure methods on data sets; an earlier call with the same `out` is resumed.

    All input is checked before the first click.

    Args:
        data: the data sets.
        methods: what to measure, in this order.
        out: the run directory.
        protocol: of the simulated user.
        limit: measure at most this many objects of each data set, evenly spread.
        workers: processes; one per core when None.
        ray: address of a Ray cluster to run on instead.
        command: how this was called, for the record.
        console: where to show progress.

    Returns:
        The run with all outcomes.

    Raises:
        ClickcutError: of a kind that says what is wrong with data, methods or directory.
    """
    console = console or Console()
    opened: Opened = {spec.name: open_dataset(spec) for spec in data}
    folders = {spec.name: spec.folder for spec in data}
    record = Run(out, protocol)
    try:
        _prepare(record, opened, folders, methods)
        jobs = list(_jobs(opened, methods, protocol, record, limit))
        _measure(jobs, record, workers or available_cpus(), ray, console, command)
    finally:
        record.close()
    print_tables(record, console)
    return record


def _prepare(
    record: Run, opened: Opened, folders: dict[str, Path], methods: Sequence[MethodSpec]
) -> None:
    for name, (dataset, targets) in opened.items():
        record.add_dataset(name, dataset.title, dataset.target, targets, folders[name])
    for spec in methods:
        build(spec)
        record.add_method(spec.name, describe(spec))
    record.save_configuration(machine=describe_machine())


def _measure(
    jobs: Sequence[Job],
    record: Run,
    workers: int,
    ray: str | None,
    console: Console,
    command: str,
) -> None:
    began = time.perf_counter()
    try:
        _perform(jobs, record, workers, ray, console)
    finally:
        session = {
            "command": command,
            "seconds": round(time.perf_counter() - began, 1),
            "done": len(record.outcomes),
        }
        record.save_configuration(sessions=[*record.configuration.get("sessions", []), session])
        write_tables(record)


def _jobs(
    opened: Opened,
    methods: Sequence[MethodSpec],
    protocol: Protocol,
    record: Run,
    limit: int | None,
) -> Iterator[Job]:
    for spec in methods:
        for name, (_, targets) in opened.items():
            for target in evenly(targets, limit):
                if (name, spec.name, target.name) not in record.outcomes:
                    yield Job(spec, name, target, protocol)


def evenly(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most `limit` items, spread evenly over all of them."""
    if limit is None or limit >= len(items):
        return items
    return [items[k * len(items) // limit] for k in range(limit)]


def _perform(
    jobs: Sequence[Job], record: Run, workers: int, ray: str | None, console: Console
) -> None:
    if not jobs:
        return
    finished = on_ray(jobs, ray) if ray else on_processes(jobs, min(workers, len(jobs)))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(jobs))
        for job, outcome in finished:
            record.add(job.dataset, job.method.name, job.target.name, outcome)
            if outcome is None:
                progress.console.print(f"{job.dataset} {job.target.name}: has no pixels, skipped")
            progress.update(task, advance=1, description=f"{job.method.name}, {job.dataset}")
