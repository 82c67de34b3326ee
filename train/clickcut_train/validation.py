"""Validation: clicks per object on held-out objects, measured through the engine.

The simulated user clicks the deepest error (protocol `deepest`); the engine's own session makes
maps, regions and, when asked for, the cut. Only the network runs in PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clickcut.bundle import BundleMetadata
from clickcut_eval.accuracy import measure_all
from clickcut_eval.metrics import Outcome
from clickcut_eval.targets import GroundTruth, Target
from clickcut_train.config import TrainConfig, ValidationConfig
from clickcut_train.data import Photo, PhotoSource
from clickcut_train.metadata import bundle_metadata, kept_fields


class TorchPredictor:
    """A network in PyTorch behind the engine's `Predictor` interface.

    Args:
        network: (N, C, S, S) -> logits (N, 1, S, S), in eval mode.
        metadata: its description.
        device: where it is.
    """

    backend = "pytorch"
    sha256 = ""

    def __init__(self, network: nn.Module, metadata: BundleMetadata, device: torch.device) -> None:
        self.metadata = metadata
        self._network, self._device = network, device

    def warm_up(self) -> None:
        """Nothing."""

    @torch.inference_mode()
    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `clickcut.backends.Predictor.predict`."""
        logits = self._network(torch.from_numpy(batch).to(self._device))
        out: NDArray[np.float32] = logits[:, 0].float().cpu().numpy()
        return out


@dataclass(frozen=True, slots=True)
class HeldOut(Target):
    """One object of a photograph that is in memory."""

    photo: Photo

    def pixels(self) -> NDArray[np.uint8]:
        """The photograph: (H, W, 3) uint8, RGB."""
        return self.photo.image()


def _ground_truth(photo: Photo, index: int) -> GroundTruth:
    mask = photo.mask(index).astype(bool)
    void = photo.void_mask()
    return GroundTruth(mask, np.zeros_like(mask) if void is None else void.astype(bool) & ~mask)


def held_out(source: PhotoSource, count: int) -> list[HeldOut]:
    """Up to `count` objects, spread evenly over all objects of a source."""
    owners = np.repeat(np.arange(len(source)), source.objects)
    firsts = np.concatenate([[0], np.cumsum(source.objects)])
    picks = np.unique(np.linspace(0, len(owners) - 1, min(count, len(owners))).round().astype(int))
    out = []
    for pick in picks:
        photo, index = source.photo(int(owners[pick])), int(pick - firsts[owners[pick]])
        name = f"{photo.name}#{index}"
        out.append(HeldOut(name, Path(photo.name), "", partial(_ground_truth, photo, index), photo))
    return out


def clicks_per_object(
    network: nn.Module,
    config: TrainConfig,
    objects: Sequence[HeldOut],
    device: torch.device,
    provenance: Mapping[str, Any],
) -> list[Outcome]:
    """Let the simulated user select every object with a network in eval mode.

    Input size, region and threshold are those with which the network would be exported, so that
    the best checkpoint is the best bundle; `provenance` of its weights says which. The cut runs
    where the configuration asks for it.
    """
    options: ValidationConfig = config.validation
    zoom = config.samples.zoom
    metadata = bundle_metadata(config.model, zoom, **kept_fields(provenance, zoom))
    parameters = metadata.parameters.changed(cut=options.cut)
    predictor = TorchPredictor(network, metadata, device)
    return list(measure_all(objects, predictor, parameters, stop_at=options.target))
