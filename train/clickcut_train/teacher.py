"""Distillation: another network's probabilities as a part of the target (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clickcut_train.batch import network_input
from clickcut_train.config import TrainConfig
from clickcut_train.learner import Learner
from clickcut_train.samples import Sample


class Teacher:
    """A network that is shown the same crops and clicks, in its own input format.

    Args:
        loaded: what `checkpoint.load_model` gives.
        learner: says on which device and in which precision it computes.
    """

    def __init__(self, loaded: tuple[nn.Module, TrainConfig, int], learner: Learner) -> None:
        network, config, _ = loaded
        self._model, self._learner = config.model, learner
        self._network = network

    @torch.no_grad()
    def probabilities(self, samples: Sequence[Sample]) -> Tensor:
        """(N, S, S) float32, on the CPU."""
        x = self._learner.to_device(network_input(samples, self._model))
        self._network.to(x.device)
        with self._learner.autocast():
            logits = self._network(x)[:, 0]
        return torch.sigmoid(logits.float()).cpu()
