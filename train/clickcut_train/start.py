"""What a run starts from: the folder's last checkpoint, or initial weights."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clickcut_train.batch import network_input
from clickcut_train.checkpoint import OPTIONS, Checkpoint, file_sha256, read_checkpoint
from clickcut_train.config import TrainConfig
from clickcut_train.config_file import check_resumable
from clickcut_train.data import PhotoSource, order
from clickcut_train.errors import ConfigError
from clickcut_train.models import ClickNetwork
from clickcut_train.models.batchnorm import restore_batchnorm
from clickcut_train.samples import draw
from clickcut_train.weights import load_initial
from clickcut_train.weights.bundle import bundle_options
from clickcut_train.weights.load import FOLDED
from clickcut_train.weights.locate import locate

TYPICAL = 64
"""Samples from which folded BatchNorms get their statistics back."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run and keep other runs out of it.

    Raises:
        ConfigError: it cannot be made or written, or another run is using it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be a run's folder ({error.strerror}); give another --out"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another run is writing to {folder}; wait for it, or give another --out"
            ) from error
        yield
    finally:
        os.close(lock)


@dataclass(frozen=True)
class Start:
    """What a run starts from, known before any photograph is read.

    Attributes:
        checkpoint: to go on from, or None.
        notes: what has changed since.
    """

    checkpoint: Checkpoint | None = None
    notes: list[str] = field(default_factory=list)


def find_start(config: TrainConfig, folder: Path) -> Start:
    """Read the folder's last checkpoint if there is one, and check what can be checked early.

    Raises:
        ConfigError: the folder holds a run of another configuration, or the teacher is missing.
        WeightsError: the initial weights are missing.
        CheckpointError: its checkpoint cannot be read.
    """
    teacher = config.loss.teacher
    if teacher and not Path(teacher).is_file():
        raise ConfigError(f"loss.teacher: {teacher}: no such file")
    path = folder / "last.pt"
    if not path.exists():
        if config.initial.kind != "none":
            locate(config.initial.kind, config.initial.path)
        return Start()
    checkpoint = read_checkpoint(path)
    return Start(checkpoint, check_resumable(checkpoint.config, config, str(folder)))


def initialise(
    network: ClickNetwork, config: TrainConfig, source: PhotoSource
) -> tuple[str, dict[str, Any]]:
    """Fill a network with its initial weights.

    Args:
        network: with random weights.
        config: of the run.
        source: photographs, from which folded BatchNorms get their statistics back.

    Returns:
        A line for people, and the weights' provenance.

    Raises:
        WeightsError: the file cannot be used.
        CheckpointError: likewise for a checkpoint.
    """
    initial = config.initial
    if initial.kind == "none":
        return "weights: random", {}
    path = locate(initial.kind, initial.path)
    report = load_initial(network, config.model, initial.kind, path)
    if initial.kind in FOLDED:
        part = network if initial.kind == "bundle" else network.backbone
        restore_batchnorm(part, _typical_input(config, source))
    facts = {"kind": initial.kind, "file": path.name, "sha256": file_sha256(path)}
    options: dict[str, Any] = {}
    if initial.kind == "bundle":
        options = bundle_options(path)
    elif initial.kind == "checkpoint":
        options = read_checkpoint(path).provenance.get(OPTIONS, {})
    return f"weights: {path}: {report}", {"initial": facts} | (
        {OPTIONS: options} if options else {}
    )


def _typical_input(config: TrainConfig, source: PhotoSource) -> torch.Tensor:
    """(TYPICAL, C, S, S) float32 as the backbone sees it."""
    seed, model = config.schedule.seed, config.model
    numbers, samples = order(source, seed), []
    for n in range(100 * TYPICAL):
        rng = np.random.default_rng([seed, n])
        sample = draw(source.photo(numbers[n]), model.input_size, config.samples, rng)
        if sample is not None:
            samples.append(sample)
        if len(samples) == TYPICAL:
            break
    x = network_input(samples, model)
    if model.encoding == "distance" and config.initial.kind != "bundle":
        x[:, 3:5] /= 255  # the network scales them itself before its backbone
    return x
