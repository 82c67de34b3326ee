"""Checkpoints: everything that a run needs to go on exactly, in one file written atomically.

Format 2 is a dict that `torch.load(weights_only=True)` reads: `format`, `config`, `seen`, `model`,
`average`, `optimiser`, `lanes`, `best`, `provenance`.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor, nn

from clickcut.whole_file import whole_file
from clickcut_train.config import TrainConfig, validated
from clickcut_train.errors import CheckpointError, ConfigError
from clickcut_train.models import build

FORMAT = 2


@dataclass
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        config: of the run.
        seen: samples learned from.
        model_state: the weights that are trained.
        average_state: their exponential moving average: what is exported.
        optimiser_state: of the optimiser; empty in an average of checkpoints.
        lanes: sampler and random state (see `lanes`); empty in an average of checkpoints.
        best: `clicks` and `seen` of the best validation so far, or None.
        provenance: where the weights come from: files with their hashes.
    """

    config: TrainConfig
    seen: int
    model_state: dict[str, Tensor]
    average_state: dict[str, Tensor]
    optimiser_state: dict[str, Any] = field(default_factory=dict)
    lanes: dict[str, Any] = field(default_factory=dict)
    best: dict[str, float] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: no such file, damaged, foreign, of an old format, or its configuration
            is not understood.
    """
    state = _load(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"{path}: not a checkpoint of format {FORMAT} (found: {found}); it is a file of plain "
            "weights or of another version of clickcut"
        )
    missing = {"config", "seen", "model", "average"} - state.keys()
    if missing:
        raise CheckpointError(f"{path}: incomplete checkpoint, without {sorted(missing)}")
    try:
        config = validated(state["config"], str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}\n(written by another version of clickcut?)") from error
    return Checkpoint(
        config=config,
        seen=int(state["seen"]),
        model_state=state["model"],
        average_state=state["average"],
        optimiser_state=state.get("optimiser", {}),
        lanes=state.get("lanes", {}),
        best=state.get("best"),
        provenance=state.get("provenance", {}),
    )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({reason})") from error


def load_state(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a model.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape.
    """
    ours = model.state_dict()
    missing, unused = sorted(ours.keys() - state.keys()), sorted(state.keys() - ours.keys())
    shapes = [
        f"{k} is {tuple(state[k].shape)}, expected {tuple(v.shape)}"
        for k, v in ours.items()
        if k in state and state[k].shape != v.shape
    ]
    if missing or unused or shapes:
        raise CheckpointError(
            f"{where}: weights of another architecture: {len(missing)} tensors missing "
            f"{missing[:3]}, {len(unused)} not used {unused[:3]}, {len(shapes)} of another shape "
            f"{shapes[:3]}"
        )
    model.load_state_dict(dict(state))


def load_model(path: Path) -> tuple[nn.Module, TrainConfig, int]:
    """The averaged weights of a checkpoint as a model in eval mode, its config, samples seen.

    Raises:
        CheckpointError: as `read_checkpoint`; the weights do not fit the configuration.
    """
    checkpoint = read_checkpoint(path)
    model = build(checkpoint.config.model)
    load_state(model, checkpoint.average_state, str(path))
    return model.eval(), checkpoint.config, checkpoint.seen


class _FirstError:
    """A file that keeps its first error and ignores what is written after it.

    PyTorch's writer is C++ and does not survive an exception of `write`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing: the caller flushes."""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that a crash at any moment leaves either the old or the new file.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    state = {
        "format": FORMAT,
        "config": checkpoint.config.model_dump(mode="json"),
        "seen": checkpoint.seen,
        "model": checkpoint.model_state,
        "average": checkpoint.average_state,
        "optimiser": checkpoint.optimiser_state,
        "lanes": checkpoint.lanes,
        "best": checkpoint.best,
        "provenance": checkpoint.provenance,
    }
    with whole_file(path) as file:
        guarded = _FirstError(file)
        torch.save(state, cast(IO[bytes], guarded))
        if guarded.error is not None:
            raise guarded.error
