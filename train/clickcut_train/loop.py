"""The course of a run: steps until it is complete or stopped, log, validation, checkpoints."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickcut_train.errors import TrainingError
from clickcut_train.logbook import Logbook
from clickcut_train.run import Run
from clickcut_train.samples import Sample


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; a second Ctrl-C ends at once."""
    stop = threading.Event()

    def ask(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Loop:
    """Steps until the run is complete or asked to stop, with log, validation and checkpoints."""

    def __init__(self, run: Run, logbook: Logbook | None) -> None:
        self._run, self._logbook = run, logbook
        self._losses: list[float] = []
        self._saved = time.monotonic()
        every = run.config.validation.every
        self._validated = run.learner.seen // every if every else 0
        self._steps = 0

    def until_done(self, stop: threading.Event) -> bool:
        """Learn.

        Returns:
            Whether the run is complete.

        Raises:
            TrainingError: it cannot go on; the message advises.
        """
        run = self._run
        while not run.complete and not run.world.any(stop.is_set()):
            self._steps += 1
            wanted = self._logbook and self._steps % run.config.output.image_steps == 1
            self._log(run.step(self._picture if wanted else None))
            self._maybe_validate()
            self._maybe_save()
        self._save("last.pt", final=True)
        return run.complete

    def _picture(self, samples: list[Sample], answers: NDArray[np.float32]) -> None:
        if self._logbook:
            self._logbook.pictures(self._run.learner.seen, samples[:8], answers[:8])

    def _log(self, loss: float) -> None:
        run, output = self._run, self._run.config.output
        self._losses.append(loss)
        if len(self._losses) < output.log_steps and not run.complete:
            return
        means = run.world.gather(float(np.mean(self._losses)))
        self._losses.clear()
        if self._logbook:
            clicks = run.lanes.mean_clicks
            self._logbook.steps(run.learner.seen, float(np.mean(means)), run.learner.rate, clicks)

    def _maybe_validate(self) -> None:
        run, options = self._run, self._run.config.validation
        due = options.every and (
            run.learner.seen // options.every > self._validated or run.complete
        )
        if not due:
            return
        self._validated = run.learner.seen // options.every
        began = time.monotonic()
        clicks = run.validate()
        better = run.best is None or clicks < run.best["clicks"]
        if better:
            run.best = {"clicks": clicks, "seen": run.learner.seen}
        if self._logbook:
            note = ", the best so far" if better else ""
            self._logbook.validation(run.learner.seen, clicks, note)
        if better:
            self._save("best.pt")
        if self._logbook:
            self._logbook.pause(time.monotonic() - began)

    def _maybe_save(self) -> None:
        due = time.monotonic() - self._saved > self._run.config.output.checkpoint_seconds
        if self._run.world.any(due):
            self._save("last.pt")

    def _save(self, name: str, final: bool = False) -> None:
        """Write a checkpoint; a full disk ends the run only when there is nothing left to do."""
        try:
            self._run.save(name)
        except OSError as error:
            path = self._run.folder / name
            advice = (
                f"{path} could not be written ({error.strerror or error}); an older one is as it "
                "was. Make room on the disk"
            )
            if final:
                raise TrainingError(
                    f"{advice} and run the same command again: it goes on from there"
                ) from error
            if self._logbook:
                self._logbook.say(f"{advice}; the run goes on and tries again")
        self._saved = time.monotonic()
