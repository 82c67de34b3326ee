"""Samples as the tensors that a network learns from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clickcut.maps import guidance_map
from clickcut_train.models import ModelConfig
from clickcut_train.models.network import PIXEL_OFFSET, PIXEL_SCALE
from clickcut_train.samples import Sample


def _fill(row: NDArray[np.float32], sample: Sample, model: ModelConfig) -> None:
    np.multiply(sample.image.transpose(2, 0, 1), np.float32(PIXEL_SCALE), out=row[:3])
    row[:3] += np.float32(PIXEL_OFFSET)
    for channel, points in ((row[3], sample.positive), (row[4], sample.negative)):
        guidance_map(model.encoding, channel, model.radius).show(points)
    if model.previous:
        row[5] = sample.probability


def network_input(
    samples: Sequence[Sample], model: ModelConfig, threads: Executor | None = None
) -> Tensor:
    """The network's input for samples at their present clicks.

    Args:
        samples: N samples of one size S.
        model: says which channels.
        threads: fill the rows in parallel.

    Returns:
        (N, 5 or 6, S, S) float32.
    """
    size = samples[0].image.shape[0]
    x = np.empty((len(samples), len(model.channels), size, size), np.float32)
    run = threads.map if threads else map
    list(run(lambda job: _fill(job[0], job[1], model), zip(x, samples, strict=True)))
    return torch.from_numpy(x)


def targets(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """What is to be said, and where it counts: both (N, S, S) float32, 1 = object / counts."""
    target = np.stack([s.target for s in samples]).astype(np.float32)
    valid = np.stack([~s.ignore for s in samples]).astype(np.float32)
    return torch.from_numpy(target), torch.from_numpy(valid)
