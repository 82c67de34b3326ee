"""The mean of several checkpoints' weights: a "model soup" (Wortsman et al. 2022).

Networks that were trained on from common weights lie in one valley of the loss; their mean is
often better than each, at no cost when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clickcut_train.checkpoint import Checkpoint, file_sha256, load_state, read_checkpoint
from clickcut_train.errors import CheckpointError
from clickcut_train.models import build


def average(paths: Sequence[Path], shares: Sequence[float] = ()) -> Checkpoint:
    """Average the averaged weights (EMA) of checkpoints.

    Args:
        paths: two or more checkpoints of one architecture.
        shares: relative weight of each, above 0; equal when left out.

    Returns:
        A checkpoint to start from or to export, not one to resume: it has no optimizer. Its
        provenance names every parent with its hash, share, samples and own provenance.

    Raises:
        CheckpointError: fewer than two, wrong shares, another architecture, an unreadable file.
    """
    shares = list(shares) or [1.0] * len(paths)
    if len(paths) < 2 or len(shares) != len(paths) or not all(s > 0 for s in shares):
        raise CheckpointError(
            "an average needs two checkpoints or more, and as many shares above 0 (or none)"
        )
    total = sum(shares)
    parents: list[dict[str, Any]] = []
    first: Checkpoint | None = None
    sums: dict[str, torch.Tensor] = {}
    for path, share in zip(paths, shares, strict=True):
        each = read_checkpoint(path)
        first = first or each
        if each.config.model != first.config.model:
            raise CheckpointError(
                f"{path} has another network than {paths[0]}: {each.config.model!r}, "
                f"not {first.config.model!r}"
            )
        load_state(build(each.config.model), each.ema_state, str(path))
        for name, value in each.ema_state.items():
            part = value.double() * (share / total)
            sums[name] = sums[name] + part if name in sums else part
        parents.append(
            {
                "file": path.name,
                "sha256": file_sha256(path),
                "share": share / total,
                "seen": each.seen,
                "provenance": each.provenance,
            }
        )
    assert first is not None
    state = {n: v.to(first.ema_state[n].dtype) for n, v in sums.items()}
    return Checkpoint(
        config=first.config,
        seen=max(p["seen"] for p in parents),
        model_state=state,
        ema_state=state,
        provenance={"average": parents},
    )
