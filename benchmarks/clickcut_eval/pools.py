"""Where jobs run: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from clickcut.errors import BackendError
from clickcut_eval.jobs import Job, one_thread, perform
from clickcut_eval.metrics import Outcome

Finished = tuple[Job, Outcome | None]

_AHEAD = 3
"""Jobs handed out per worker, so that none waits for its next one."""


def on_processes(jobs: Iterable[Job], workers: int) -> Iterator[Finished]:
    """Perform jobs on processes of this machine, as they come; errors of jobs are raised here.

    Processes, not threads: PyMaxflow and parts of the methods hold the interpreter lock.
    """
    stream = iter(jobs)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        pending: dict[Future[Outcome | None], Job] = {}
        while True:
            for job in itertools.islice(stream, _AHEAD * workers - len(pending)):
                pending[pool.submit(perform, job)] = job
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A run that was killed leaves no process behind that waits for its next job."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def on_ray(jobs: Iterable[Job], address: str) -> Iterator[Finished]:
    """Perform jobs on a Ray cluster, as they come.

    Every machine must see data and bundles under the same paths, and have clickcut installed.

    Args:
        jobs: what to do.
        address: of the cluster, as `ray.init` takes it ("auto", "ray://HOST:10001"); "local" starts
            one on this machine.

    Raises:
        BackendError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise BackendError("Ray is not installed: pip install 'clickcut[scale]'") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(
                address,
                log_to_driver=False,
                include_dashboard=False if address == "local" else None,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise BackendError(f"the Ray cluster {address!r} cannot be reached: {error}") from error
    try:
        worker = ray.remote(num_cpus=1)(_Worker)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        count = max(1, int(resources.get("CPU", 1)))
        pool: Any = ray.util.ActorPool([worker.remote() for _ in range(count)])
        yield from pool.map_unordered(lambda actor, job: actor.perform.remote(job), jobs)
    finally:
        if ours:
            ray.shutdown()


class _Worker:
    """An actor: keeps the method of the last job, as a process of the local pool does."""

    def __init__(self) -> None:
        one_thread()

    def perform(self, job: Job) -> Finished:
        return job, perform(job)
