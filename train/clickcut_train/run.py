"""A training run: from a configuration to checkpoints, resumable at any step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
    read_checkpoint,
    write_checkpoint,
)
from clickcut_train.config import TrainConfig, check_resumable
from clickcut_train.data import EachObject, PhotoSource, order
from clickcut_train.distributed import World
from clickcut_train.errors import ConfigError, TrainingError
from clickcut_train.lanes import Lanes, fresh_samples, lanes_of
from clickcut_train.learner import Learner
from clickcut_train.models import ClickNetwork, build
from clickcut_train.models.batchnorm import restore_batchnorm
from clickcut_train.samples import Sample, draw
from clickcut_train.teacher import Teacher
from clickcut_train.validation import HeldOut, clicks_per_object
from clickcut_train.weights import load_initial
from clickcut_train.weights.load import FOLDED

TYPICAL = 64
"""Samples from which folded BatchNorms get their statistics back."""

Watch = Callable[[list[Sample], NDArray[np.float32]], None]


@dataclass
class Data:
    """Photographs to learn from, and objects to validate on."""

    train: PhotoSource
    validation: list[HeldOut] = field(default_factory=list)


class Run:
    """One stage of training in one folder.

    Args:
        config: everything.
        folder: of the run; made when it is not there.
        data: what to learn from.
        world: the processes that learn as one.

    Attributes:
        notes: what people should know before it starts.
        best: clicks and samples of the best validation so far.
        complete: whether all samples have been learned from, or the time is over.

    Raises:
        ConfigError: the folder holds a run of another configuration; the batch cannot be divided.
        CheckpointError: the folder's checkpoint, or the one to start from, cannot be used.
        WeightsError: the initial weights cannot be used.
    """

    def __init__(self, config: TrainConfig, folder: Path, data: Data, world: World) -> None:
        if config.schedule.batch % world.size:
            raise ConfigError(
                f"schedule.batch = {config.schedule.batch} must be a multiple of the "
                f"{world.size} processes"
            )
        self.config, self.folder, self.data, self.world = config, folder, data, world
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.schedule.seed)
        self.provenance: dict[str, Any] = {}
        self.best: dict[str, float] | None = None
        self.notes: list[str] = []
        self._source = data.train
        if config.samples.pairs_per_object:
            self._source = EachObject(data.train, config.samples.pairs_per_object)
        network = build(config.model)
        checkpoint = self._resumed(network)
        if checkpoint is None:
            self._initialise(network)
        self.parameters = sum(p.numel() for p in network.parameters())
        self.learner = Learner(config, network, world)
        self.lanes = self._make_lanes()
        if checkpoint is None:
            self.lanes.begin()
            torch.manual_seed(config.schedule.seed + world.rank)
        else:
            self._restore(checkpoint)
        self.complete = self._is_complete()
        self.teacher: Teacher | None = None
        if config.loss.teacher:
            path = Path(config.loss.teacher)
            self.teacher = Teacher(load_model(path), self.learner.to_device)
            self.provenance["teacher"] = {"file": path.name, "sha256": file_sha256(path)}

    def _resumed(self, network: ClickNetwork) -> Checkpoint | None:
        path = self.folder / "last.pt"
        if not path.exists():
            return None
        checkpoint = read_checkpoint(path)
        self.notes += check_resumable(checkpoint.config, self.config, str(self.folder))
        load_state(network, checkpoint.model_state, str(path))
        return checkpoint

    def _initialise(self, network: ClickNetwork) -> None:
        initial = self.config.initial
        if initial.kind == "none":
            self.notes.append("weights: random")
            return
        path = Path(initial.path)
        report = load_initial(network, self.config.model, initial.kind, path)
        self.notes.append(f"weights: {path}: {report}")
        self.provenance = {
            "initial": {"kind": initial.kind, "file": path.name, "sha256": file_sha256(path)}
        }
        if initial.kind in FOLDED:
            part = network if initial.kind == "bundle" else network.trunk
            restore_batchnorm(part, self._typical_input())

    def _typical_input(self) -> torch.Tensor:
        """(TYPICAL, C, S, S) float32 as the trunk sees it."""
        seed, size = self.config.schedule.seed, self.config.model.input_size
        numbers, samples = order(self._source, seed), []
        for n in range(100 * TYPICAL):
            photo = self._source.photo(numbers[n])
            sample = draw(photo, size, self.config.samples, np.random.default_rng([seed, n]))
            if sample is not None:
                samples.append(sample)
            if len(samples) == TYPICAL:
                break
        x = network_input(samples, self.config.model)
        if self.config.model.encoding == "distance":
            x[:, 3:5] /= 255
        return x

    def _make_lanes(self) -> Lanes:
        schedule, sessions = self.config.schedule, self.config.sessions
        fresh = fresh_samples(
            self._source,
            self.config.samples,
            self.config.model.input_size,
            schedule.batch,
            schedule.seed,
        )
        mine = lanes_of(self.world.rank, self.world.size, schedule.batch)
        return Lanes(
            fresh,
            mine,
            sessions.pool // schedule.batch,
            schedule.seed,
            sessions.go_on,
            self.config.machine.workers,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        learner = self.learner
        load_state(learner.average, checkpoint.average_state, "last.pt")
        learner.restore_optimiser(checkpoint.optimiser_state)
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

    def step(self, watch: Watch | None = None) -> float:
        """One step of learning, and the sessions' next clicks.

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
        with _memory_advice(self.config):
            if self.teacher:
                share = self.config.loss.teacher_share
                target = target.lerp(self.teacher.probabilities(samples), share)
            loss, probabilities = self.learner.step(x, target, valid)
        if watch:
            watch(samples, probabilities.numpy())
        self.lanes.advance(probabilities.numpy())
        self.complete = self._is_complete()
        return loss

    def validate(self) -> float:
        """Mean clicks per held-out object, measured by all processes; the same for each."""
        rank, size = self.world.rank, self.world.size
        mine = self.data.validation[rank::size]
        outcomes = clicks_per_object(self.learner.average, self.config, mine, self.world.device)
        counts = [o.clicks_to(self.config.validation.target) for o in outcomes]
        everybody = self.world.gather(counts)
        mean = float(np.mean([c for part in everybody for c in part])) if everybody else 0.0
        return float(self.world.share(mean))

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
        write_checkpoint(
            self.folder / name,
            Checkpoint(
                config=self.config,
                seen=learner.seen,
                model_state=learner.network.state_dict(),
                average_state=learner.average.state_dict(),
                optimiser_state=learner.optimiser.state_dict(),
                lanes={
                    "sessions": {k: v for part in sessions for k, v in part.items()},
                    "torch": generators,
                },
                best=self.best,
                provenance=self.provenance,
            ),
        )

    def close(self) -> None:
        """End the threads."""
        self.lanes.close()


@contextlib.contextmanager
def _memory_advice(config: TrainConfig) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not out_of_memory and "can't allocate memory" not in str(error):
            raise
        batch = max(1, config.schedule.batch // 2)
        size = max(32, config.model.input_size // 64 * 32)
        raise TrainingError(
            "not enough memory for a step. The last checkpoint is good, but a smaller step needs a "
            f"new run: --set schedule.batch={batch} (sessions.pool must be a multiple of it), or "
            f"--set model.input_size={size}"
        ) from error
