"""The mean of several checkpoints' weights: a "model soup" (Wortsman et al. 2022).

Networks that were trained on from common weights lie in one valley of the loss; their mean is
often better than each, at no cost when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clickcut_train.checkpoint import OPTIONS, Checkpoint, file_sha256, load_state, read_checkpoint
from clickcut_train.errors import CheckpointError
from clickcut_train.models import build
from clickcut_train.models.batchnorm import fold_batchnorm
from clickcut_train.weights.bundle import bundle_options, load_bundle


def average(paths: Sequence[Path], shares: Sequence[float] = ()) -> Checkpoint:
    """Average the averaged weights (EMA) of checkpoints.

    Args:
        paths: two or more checkpoints of one architecture; among them may be float bundles (.onnx).
        shares: relative weight of each, above 0; equal when left out.

    Returns:
        A checkpoint to start from or to export, not one to resume: it has no optimizer. Its
        provenance names every parent with its hash, share, samples and own provenance, and has the
        options of use of the first parent that has any.

    Raises:
        CheckpointError: fewer than two, no checkpoint among them, wrong shares, another
            architecture, an unreadable file.
        WeightsError: likewise for a bundle.
    """
    shares = list(shares) or [1.0] * len(paths)
    if len(paths) < 2 or len(shares) != len(paths) or not all(s > 0 for s in shares):
        raise CheckpointError(
            "an average needs two checkpoints or more, and as many shares above 0 (or none)"
        )
    bundles = [path for path in paths if path.suffix == ".onnx"]
    checkpoints = {path: read_checkpoint(path) for path in paths if path not in bundles}
    if not checkpoints:
        raise CheckpointError("an average of bundles alone has no configuration: give a checkpoint")
    first, known = next(iter(checkpoints.items()))
    total = sum(shares)
    parents: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    sums: dict[str, torch.Tensor] = {}
    for path, share in zip(paths, shares, strict=True):
        network = build(known.config.model)
        parent: dict[str, Any] = {"file": path.name, "sha256": file_sha256(path)}
        if path in bundles:
            load_bundle(network, known.config.model, path)
            options = options or bundle_options(path)
        else:
            each = checkpoints[path]
            if each.config.model != known.config.model:
                raise CheckpointError(
                    f"{path} has another network than {first}: {each.config.model!r}, "
                    f"not {known.config.model!r}"
                )
            load_state(network, each.ema_state, str(path))
            own = {k: v for k, v in each.provenance.items() if k != OPTIONS}
            parent |= {"seen": each.seen, "provenance": own}
            options = options or each.provenance.get(OPTIONS, {})
        if bundles:
            fold_batchnorm(network)
        for name, value in network.state_dict().items():
            part = value.double() * (share / total)
            sums[name] = sums[name] + part if name in sums else part
        parents.append(parent | {"share": share / total})
    types = build(known.config.model).state_dict()
    state = {n: v.to(types[n].dtype) for n, v in sums.items()}
    return Checkpoint(
        config=known.config,
        seen=max(c.seen for c in checkpoints.values()),
        model_state=state,
        ema_state=state,
        provenance={"average": parents} | ({OPTIONS: options} if options else {}),
    )
