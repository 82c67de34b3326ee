"""Distillation: another network's probabilities as a part of the target (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from clickcut_train.batch import network_input
from clickcut_train.config import TrainConfig
from clickcut_train.samples import Sample


class Teacher:
    """A network that is shown the same crops and clicks, in its own input format.

    Args:
        loaded: what `checkpoint.load_model` gives.
        to_device: moves its input.
    """

    def __init__(
        self, loaded: tuple[nn.Module, TrainConfig, int], to_device: Callable[[Tensor], Tensor]
    ) -> None:
        network, config, _ = loaded
        self._model, self._to_device = config.model, to_device
        self._network = network

    @torch.no_grad()
    def probabilities(self, samples: Sequence[Sample]) -> Tensor:
        """(N, S, S) float32, on the CPU."""
        x = self._to_device(network_input(samples, self._model))
        self._network.to(x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            logits = self._network(x)[:, 0]
        return torch.sigmoid(logits.float()).cpu()
