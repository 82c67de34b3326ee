"""A training run: from a configuration to checkpoints, resumable at any step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickcut_train.batch import network_input, targets
from clickcut_train.checkpoint import (
    Checkpoint,
    file_sha256,
    load_model,
    load_state,
    write_checkpoint,
)
from clickcut_train.config import TrainConfig
from clickcut_train.data import EachObject, PhotoSource
from clickcut_train.distributed import World
from clickcut_train.errors import ConfigError, TrainingError
from clickcut_train.lanes import Lanes, fresh_samples, lanes_of
from clickcut_train.learner import Learner, memory_advice
from clickcut_train.logbook import Logbook
from clickcut_train.models import build
from clickcut_train.samples import Sample
from clickcut_train.start import Start, find_start, initialise
from clickcut_train.teacher import Teacher
from clickcut_train.validation import HeldOut, clicks_per_object

Watch = Callable[[list[Sample], NDArray[np.float32]], None]


@dataclass
class Data:
    """Photographs to learn from, and objects to validate on."""

    train: PhotoSource
    validation: list[HeldOut] = field(default_factory=list)


class Trainer:
    """One stage of training in one folder.

    Args:
        config: everything.
        folder: of the run; made when it is not there.
        data: what to learn from.
        world: the processes that learn as one.
        start: what `find_start` found in the folder; looked up when None.

    Attributes:
        notes: what people should know before it starts.
        logbook: where progress is written; None writes nothing.
        best: clicks and samples of the best validation whose `best.pt` was written.
        complete: whether all samples have been learned from, or the time is over.

    Raises:
        ConfigError: the folder holds a run of another configuration; the batch cannot be divided.
        CheckpointError: the folder's checkpoint, or the one to start from, cannot be used.
        WeightsError: the initial weights cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        data: Data,
        world: World,
        start: Start | None = None,
    ) -> None:
        if config.schedule.batch % world.size:
            raise ConfigError(
                f"schedule.batch = {config.schedule.batch} must be a multiple of the "
                f"{world.size} processes"
            )
        folder.mkdir(parents=True, exist_ok=True)
        start = start or find_start(config, folder)
        self.config, self.folder, self.data, self.world = config, folder, data, world
        self.logbook: Logbook | None = None
        self.best: dict[str, float] | None = None
        self.notes = list(start.notes)
        self.provenance: dict[str, Any] = {}
        self._losses: list[float] = []
        torch.manual_seed(config.schedule.seed)
        source = data.train
        if config.samples.pairs_per_object:
            source = EachObject(data.train, config.samples.pairs_per_object)
        network = build(config.model)
        if start.checkpoint:
            load_state(network, start.checkpoint.model_state, "last.pt")
        else:
            note, self.provenance = initialise(network, config, source)
            self.notes.append(note)
        self.parameters = sum(p.numel() for p in network.parameters())
        self.learner = Learner(config, network, world)
        self.notes.append(self.learner.precision_note)
        self.lanes = self._make_lanes(source)
        if start.checkpoint:
            self._restore(start.checkpoint)
        else:
            self.lanes.begin()
            torch.manual_seed(config.schedule.seed + world.rank)
        self._teacher = self._load_teacher()
        self.complete = self._is_complete()

    def _make_lanes(self, source: PhotoSource) -> Lanes:
        schedule, sessions = self.config.schedule, self.config.sessions
        size = self.config.model.input_size
        return Lanes(
            fresh_samples(source, self.config.samples, size, schedule.batch, schedule.seed),
            lanes_of(self.world.rank, self.world.size, schedule.batch),
            sessions.pool // schedule.batch,
            schedule.seed,
            sessions.next_click_probability,
            self.config.machine.workers,
            sessions.refine_probability,
        )

    def _load_teacher(self) -> Teacher | None:
        if not self.config.loss.teacher:
            return None
        path = Path(self.config.loss.teacher)
        self.provenance["teacher"] = {"file": path.name, "sha256": file_sha256(path)}
        return Teacher(load_model(path), self.learner)

    def _restore(self, checkpoint: Checkpoint) -> None:
        learner = self.learner
        load_state(learner.ema, checkpoint.ema_state, "last.pt")
        learner.restore_optimizer(checkpoint.optimizer_state)
        learner.seen = checkpoint.seen
        self.best, self.provenance = checkpoint.best, checkpoint.provenance
        self.lanes.restore(checkpoint.lanes["sessions"])
        states = checkpoint.lanes["torch"]
        if len(states) == self.world.size:
            torch.set_rng_state(states[self.world.rank])
        else:
            torch.manual_seed(self.config.schedule.seed + learner.seen + self.world.rank)
        self.notes.append(f"resumed after {learner.seen} samples")

    def _is_complete(self) -> bool:
        done = self.learner.seen >= self.config.schedule.samples
        return done or self.learner.seconds_left <= 0

    def train(self, stop: threading.Event) -> bool:
        """Step until the run is complete or asked to stop, with log, validation and checkpoints.

        Args:
            stop: set from outside to end after the present step.

        Returns:
            Whether the run is complete.

        Raises:
            TrainingError: it cannot go on; the message advises.
        """
        output, every = self.config.output, self.config.validation.every
        saved, steps = time.monotonic(), 0
        validated = self.learner.seen // every if every else 0
        while not self.complete and not self.world.any(stop.is_set()):
            steps += 1
            pictured = self.logbook and steps % output.image_steps == 1
            self._log(self.step(self._picture if pictured else None))
            if every and (self.learner.seen // every > validated or self.complete):
                validated = self.learner.seen // every
                self._validate()
            if self.world.any(time.monotonic() - saved > output.checkpoint_seconds):
                self._save("last.pt")
                saved = time.monotonic()
        self._save("last.pt", final=True)
        return self.complete

    def step(self, watch: Watch | None = None) -> float:
        """Take one step of learning, then give the sessions their next clicks.

        Args:
            watch: is shown this process' samples as they were learned from, and the network's
                answers (N, S, S) float32.

        Returns:
            The loss of this process' samples.

        Raises:
            TrainingError: no memory, or a loss that is not finite.
        """
        samples = self.lanes.choose()
        x = network_input(samples, self.config.model, self.lanes.threads)
        target, valid = targets(samples)
        with memory_advice(self.config):
            if self._teacher:
                share = self.config.loss.teacher_share
                target = target.lerp(self._teacher.probabilities(samples), share)
            loss, probabilities = self.learner.step(x, target, valid)
        if watch:
            watch(samples, probabilities.numpy())
        self.lanes.advance(probabilities.numpy())
        self.complete = self._is_complete()
        return loss

    def _picture(self, samples: list[Sample], answers: NDArray[np.float32]) -> None:
        if self.logbook:
            self.logbook.pictures(self.learner.seen, samples[:8], answers[:8])

    def _log(self, loss: float) -> None:
        self._losses.append(loss)
        if len(self._losses) < self.config.output.log_steps and not self.complete:
            return
        means = self.world.gather(float(np.mean(self._losses)))
        self._losses.clear()
        if self.logbook:
            learner, clicks = self.learner, self.lanes.mean_clicks
            self.logbook.steps(learner.seen, float(np.mean(means)), learner.lr, clicks)

    def validate(self) -> float:
        """Measure mean clicks per held-out object, by all processes; the same for each."""
        rank, size = self.world.rank, self.world.size
        mine = self.data.validation[rank::size]
        outcomes = clicks_per_object(
            self.learner.ema, self.config, mine, self.world.device, self.provenance
        )
        counts = [o.clicks_to(self.config.validation.target) for o in outcomes]
        parts = self.world.gather(counts)
        mean = float(np.mean([c for part in parts for c in part])) if parts else 0.0
        return float(self.world.share(mean))

    def _validate(self) -> None:
        began = time.monotonic()
        clicks = self.validate()
        before = self.best
        better = before is None or clicks < before["clicks"]
        if self.logbook:
            note = ", the best so far" if better else ""
            self.logbook.validation(self.learner.seen, clicks, note)
        if better:
            self.best = {"clicks": clicks, "seen": self.learner.seen}
            # What could not be written is not the best: a later, equally good one must replace it.
            if not self._save("best.pt"):
                self.best = before
        if self.logbook:
            self.logbook.pause(time.monotonic() - began)

    def _save(self, name: str, final: bool = False) -> bool:
        """Write a checkpoint; a full disk ends the run only when there is nothing left to do.

        Returns:
            Whether it was written; the same in all processes.
        """
        try:
            self.save(name)
        except OSError as error:
            path = self.folder / name
            advice = (
                f"{path} could not be written ({error.strerror or error}); an older one is as it "
                "was. Make room on the disk"
            )
            if final:
                raise TrainingError(
                    f"{advice} and run the same command again: it goes on from there"
                ) from error
            if self.logbook:
                self.logbook.say(f"{advice}; the run goes on and tries again")
            return bool(self.world.share(False))
        return bool(self.world.share(True))

    def save(self, name: str = "last.pt") -> None:
        """Write a checkpoint; all processes take part, the leading one writes.

        Raises:
            OSError: it cannot be written; an older file of this name is as it was.
        """
        sessions = self.world.gather(self.lanes.state())
        generators = self.world.gather(torch.get_rng_state())
        if not self.world.leads:
            return
        learner = self.learner
        lanes = {k: v for part in sessions for k, v in part.items()}
        checkpoint = Checkpoint(
            config=self.config,
            seen=learner.seen,
            model_state=learner.network.state_dict(),
            ema_state=learner.ema.state_dict(),
            optimizer_state=learner.optimizer.state_dict(),
            lanes={"sessions": lanes, "torch": generators},
            best=self.best,
            provenance=self.provenance,
        )
        write_checkpoint(self.folder / name, checkpoint)

    def close(self) -> None:
        """End the threads."""
        self.lanes.close()
