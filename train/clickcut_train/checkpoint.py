"""Checkpoints: everything that a run needs to go on exactly, in one file written atomically.

A dict that `torch.load(weights_only=True)` reads: `format`, `config`, `seen`, `model`, `ema`,
`optimizer`, `lanes`, `best`, `provenance`. PyTorch writes it as a zip archive; the archive's
comment holds the SHA-256 of all bytes before it. Format 2, without it and with older names, is read
as well.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from clickcut.whole_file import whole_file
from clickcut_train.config import TrainConfig
from clickcut_train.config_file import validated
from clickcut_train.errors import CheckpointError, ConfigError
from clickcut_train.models import build
from clickcut_train.old_keys import new_tensor_names

FORMAT = 3
OPTIONS = "options"
"""Key of a provenance: input size, region and cut of the bundle that a training goes back to."""

_OLD_NAMES = {"average": "ema", "optimiser": "optimizer"}
_COMMENT = b"clickcut-sha256:"
_COMMENT_LENGTH = len(_COMMENT) + 64
_END_RECORD = b"PK\x05\x06"
_END_LENGTH = 22
"""Of a zip archive's last record without a comment; its last two bytes are the comment's length."""


@dataclass
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        config: of the run.
        seen: samples learned from.
        model_state: the weights that are trained.
        ema_state: their exponential moving average: what is exported.
        optimizer_state: of the optimizer; empty in an average of checkpoints.
        lanes: sampler and random state (see `lanes`); empty in an average of checkpoints.
        best: `clicks` and `seen` of the best validation so far, or None.
        provenance: where the weights come from: files with their hashes.
    """

    config: TrainConfig
    seen: int
    model_state: dict[str, Tensor]
    ema_state: dict[str, Tensor]
    optimizer_state: dict[str, Any] = field(default_factory=dict)
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
        CheckpointError: no such file, damaged, foreign, of another format, or its configuration
            is not understood.
    """
    sealed = _check_bytes(path)
    state = _load(path)
    if not isinstance(state, dict) or state.get("format") not in (2, FORMAT):
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"{path}: not a checkpoint of format {FORMAT} (found: {found}); it is a file of plain "
            "weights or of another version of clickcut"
        )
    if state["format"] == FORMAT and not sealed:
        raise CheckpointError(f"{path}: damaged: its checksum is missing")
    state = {_OLD_NAMES.get(name, name): value for name, value in state.items()}
    missing = {"config", "seen", "model", "ema"} - state.keys()
    if missing:
        raise CheckpointError(f"{path}: incomplete checkpoint, without {sorted(missing)}")
    try:
        config = validated(state["config"], str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}\n(written by another version of clickcut?)") from error
    return Checkpoint(
        config=config,
        seen=int(state["seen"]),
        model_state=new_tensor_names(state["model"]),
        ema_state=new_tensor_names(state["ema"]),
        optimizer_state=state.get("optimizer", {}),
        lanes=state.get("lanes", {}),
        best=state.get("best"),
        provenance=state.get("provenance", {}),
    )


def _check_bytes(path: Path) -> bool:
    """Compare a file with its checksum; without one, its members with their CRC-32.

    Returns:
        Whether there is a checksum.

    Raises:
        CheckpointError: no such file, unreadable, or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        data = path.read_bytes()
        if data[-_COMMENT_LENGTH:].startswith(_COMMENT):
            found = hashlib.sha256(data[:-_COMMENT_LENGTH]).hexdigest().encode()
            if data[-64:] != found:
                raise CheckpointError(f"{path}: damaged: its checksum does not match")
            return True
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise CheckpointError(f"{path}: damaged in {name}")
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({error})") from error
    return False


def _seal(file: BinaryIO, path: Path) -> None:
    """Give a zip archive, just written, its checksum as a comment."""
    file.seek(-_END_LENGTH, os.SEEK_END)
    end = file.read()
    if not end.startswith(_END_RECORD) or end[-2:] != b"\0\0":
        raise CheckpointError(f"{path}: PyTorch wrote no plain zip archive")
    file.seek(-2, os.SEEK_END)
    file.write(_COMMENT_LENGTH.to_bytes(2, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0, os.SEEK_END)
    file.write(_COMMENT + digest.encode())


def _load(path: Path) -> Any:
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
    """The averaged (EMA) weights of a checkpoint as a model in eval mode, its config, samples seen.

    Raises:
        CheckpointError: as `read_checkpoint`; the weights do not fit the configuration.
    """
    checkpoint = read_checkpoint(path)
    model = build(checkpoint.config.model)
    load_state(model, checkpoint.ema_state, str(path))
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
        "ema": checkpoint.ema_state,
        "optimizer": checkpoint.optimizer_state,
        "lanes": checkpoint.lanes,
        "best": checkpoint.best,
        "provenance": checkpoint.provenance,
    }
    with whole_file(path) as file:
        guarded = _FirstError(file)
        torch.save(state, cast(IO[bytes], guarded))
        if guarded.error is not None:
            raise guarded.error
        _seal(file, path)
