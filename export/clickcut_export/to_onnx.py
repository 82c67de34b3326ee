"""A checkpoint of the training sidecar -> a bundle, proved equal to PyTorch on real inputs."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clickcut.backends import load_predictor
from clickcut.bundle import BATCH, BundleMetadata, faults_of
from clickcut_eval.targets import Target, packaged_target
from clickcut_export.errors import ExportError
from clickcut_export.faster import faster_on_cpu
from clickcut_export.graph import INPUT, OUTPUT, drop_empty_pads, finish, write_file
from clickcut_export.parity import FLOAT32, Parity, Tolerance, compare
from clickcut_export.sessions import record
from clickcut_train.checkpoint import OPTIONS, file_sha256, load_model, read_checkpoint
from clickcut_train.config import TrainConfig
from clickcut_train.metadata import bundle_metadata, kept_fields
from clickcut_train.validation import TorchPredictor

MAX_BATCH = 64

_CLICKS = 5
"""Simulated clicks on each object on which ONNX and PyTorch are compared."""


@dataclass(frozen=True)
class OnnxOptions:
    """How a checkpoint becomes a bundle.

    Attributes:
        size: S, pixels, a multiple of 32; when None that of the bundle from which the training
            began, or the crops' in training.
        dynamic: height and width stay symbolic, any multiple of 32; the batch always is.
        name: of the model.
        version: of the model.
        notes: metadata fields that replace the checkpoint's.
        tolerance: to PyTorch.
    """

    size: int | None = None
    dynamic: bool = False
    name: str = "default"
    version: str = "1"
    notes: dict[str, Any] = field(default_factory=dict)
    tolerance: Tolerance = FLOAT32


class _Plain(nn.Module):
    """(N, C, H, W) -> logits (N, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_and_guidance: Tensor) -> Tensor:
        logits: Tensor = self.network(image_and_guidance)
        return logits.squeeze(1)


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy with every BatchNorm folded into the convolution before it.

    Raises:
        ExportError: a BatchNorm follows something else than a convolution.
    """
    folded = copy.deepcopy(model)
    for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        for k in range(len(block) - 1):
            conv, norm = block[k], block[k + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[k], block[k + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    left = [n for n, m in folded.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if left:
        raise ExportError(f"BatchNorm without a convolution before it: {', '.join(left)}")
    return folded


def export_onnx(
    checkpoint: Path, output: Path, options: OnnxOptions, targets: Sequence[Target] = ()
) -> Parity:
    """Write the averaged weights of a checkpoint as a bundle.

    Args:
        checkpoint: of `clickcut_train`.
        output: the bundle.
        options: of the export.
        targets: objects on which ONNX and PyTorch are compared; the packaged one when empty.

    Returns:
        How far ONNX Runtime is from PyTorch.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ExportError: an option that does not fit, or a file that cannot be written.
        ParityError: ONNX Runtime says something else than PyTorch; nothing is written.
    """
    network, config, seen = load_model(checkpoint)
    metadata = describe(checkpoint, config, seen, options)
    model = to_graph(network, metadata, options.dynamic)
    data = finish(model, metadata)
    reference = TorchPredictor(network, metadata, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.onnx"
        candidate.write_bytes(data)
        predictor = load_predictor(candidate)
        shown = targets or [packaged_target()]
        inputs = [batch for target in shown for batch in record(target, reference, _CLICKS)]
        parity = compare(reference.predict, predictor.predict, inputs, metadata.cut.threshold)
        parity.check(options.tolerance, f"the ONNX form of {checkpoint.name}")
    write_file(output, data)
    return parity


def to_graph(network: nn.Module, metadata: BundleMetadata, dynamic: bool) -> onnx.ModelProto:
    """The ONNX graph of a network: input (N, C, S, S) float32, logits (N, S, S) float32."""
    plain = _Plain(fold_batchnorm(network)).eval()
    size = metadata.input_size
    # Two different sides, so that nothing is taken to be square.
    sides = (96, 64) if dynamic else (size, size)
    example = torch.zeros((2, len(metadata.channels), *sides))
    symbolic: dict[int, Any] = {0: torch.export.Dim(BATCH, min=1, max=MAX_BATCH)}
    if dynamic:
        symbolic |= {
            axis: 32 * torch.export.Dim(name, min=1, max=64)
            for axis, name in ((2, "rows"), (3, "columns"))
        }
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # notices on torchvision's absence
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecation notices
            program = torch.onnx.export(
                plain,
                (example,),
                dynamo=True,
                optimize=True,  # constants folded, no-ops removed: onnxscript.optimizer
                external_data=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(symbolic,),
                verbose=False,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    if program is None:
        raise ExportError("PyTorch's exporter gave no graph")
    model = program.model_proto
    drop_empty_pads(model)
    faster_on_cpu(model)
    return model


def describe(
    checkpoint: Path, config: TrainConfig, seen: int, options: OnnxOptions
) -> BundleMetadata:
    """The metadata of a checkpoint; `options.notes` replace fields.

    A training that began from a bundle keeps that bundle's input size, region and cut.

    Raises:
        ExportError: a size or a note that does not fit.
    """
    provenance = dict(read_checkpoint(checkpoint).provenance)
    kept = kept_fields(provenance, config.samples.zoom)
    provenance.pop(OPTIONS, None)
    fields: dict[str, Any] = {
        **kept,
        "name": options.name,
        "version": options.version,
        "training": training_facts(config, seen) | initial_facts(provenance),
        "checkpoint_sha256": file_sha256(checkpoint),
    }
    if options.size:
        fields["input_size"] = options.size
    try:
        return bundle_metadata(config.model, config.samples.zoom, **(fields | options.notes))
    except ValidationError as error:
        raise ExportError(f"metadata: {faults_of(error)}") from error


def training_facts(config: TrainConfig, seen: int) -> dict[str, str | int | float]:
    """What the metadata say of the training. Folders are left out: they mean nothing elsewhere."""
    sources = [s.kind + (":" + ",".join(s.splits) if s.splits else "") for s in config.data.sources]
    return {
        "data": "; ".join(sources) or "not recorded",
        "samples": seen,
        "crop_size": config.model.input_size,
        "batch": config.schedule.batch,
        "loss": config.loss.kind,
        "clicks": config.samples.first,
        "corrections": config.sessions.next_click_probability,
        "previous_probability": "yes" if config.model.previous else "no",
        "optimizer": config.optimizer.kind,
        "learning_rate": config.optimizer.lr,
        "seed": config.schedule.seed,
    }


def initial_facts(provenance: dict[str, Any]) -> dict[str, str]:
    """Where the weights come from, by the checkpoint's own record."""
    return {f"from_{k}": json.dumps(v, sort_keys=True) for k, v in sorted(provenance.items())}
