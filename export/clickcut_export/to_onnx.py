"""Write a checkpoint as an ONNX bundle and compare the two.

python -m clickcut_export.to_onnx runs/default/last.pt --name default --output default.onnx
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clickcut.bundle import (
    METADATA_KEY,
    BundleMetadata,
    CutDefaults,
    Guidance,
    RegionPolicy,
)
from clickcut.predictor import load_predictor
from clickcut_train.model import ClickFCN

CHANNELS = ("red", "green", "blue", "positive", "negative")

TOLERANCE = 1e-3
"""Largest difference in probability between PyTorch and ONNX Runtime that is accepted."""


class _Plain(nn.Module):
    """(N, 6, S, S) -> logits (N, S, S)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_and_guidance: Tensor) -> Tensor:
        return self.model(image_and_guidance)[:, 0]


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy with every BatchNorm folded into the convolution before it."""
    folded = copy.deepcopy(model)
    for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        for k in range(len(block) - 1):
            conv, norm = block[k], block[k + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[k], block[k + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return folded


def export(checkpoint: Path, output: Path, metadata: BundleMetadata) -> float:
    """Write the averaged weights of `checkpoint` as the bundle `output`.

    Returns:
        The largest difference in probability from PyTorch on random inputs.

    Raises:
        ValueError: the difference exceeds `TOLERANCE`; `output` is then not written.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    encoding = metadata.guidance.encoding
    model = ClickFCN(
        guidance=len(metadata.channels) - 3,
        width=state["recipe"]["width"],
        guidance_scale=1.0 if encoding == "disc" else 1 / 255,
    )
    model.load_state_dict(state["average"])
    plain = _Plain(fold_batchnorm(model.eval())).eval()
    size = metadata.input_size
    generator = torch.Generator().manual_seed(0)
    example = torch.rand((2, len(metadata.channels), size, size), generator=generator)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / output.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecation notices
            torch.onnx.export(
                plain,
                (example,),
                str(partial),
                dynamo=True,
                external_data=False,
                input_names=["input"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
                verbose=False,
            )
        graph = onnx.load(str(partial))
        for node in graph.graph.node:  # names of source files and stack traces do not ship
            del node.metadata_props[:]
            node.doc_string = ""
        for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
            del value.metadata_props[:]
        for tensor in graph.graph.initializer:
            del tensor.metadata_props[:]
        del graph.graph.metadata_props[:], graph.metadata_props[:], graph.functions[:]
        entry = graph.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, metadata.model_dump_json()
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, str(partial))
        with torch.no_grad():
            expected = torch.sigmoid(model(example)[:, 0]).numpy()
        logits = load_predictor(partial).predict(example.numpy())
        worst = float(np.abs(1 / (1 + np.exp(-logits)) - expected).max())
        if not worst <= TOLERANCE:
            raise ValueError(f"ONNX differs from PyTorch by {worst:.2g} in probability")
        partial.replace(output)
    return worst


def describe(
    checkpoint: Path, name: str, version: str, size: int, notes: Path | None
) -> BundleMetadata:
    """The metadata of a checkpoint of `clickcut_train.fit`; `notes`: JSON that replaces fields."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    recipe = state["recipe"]
    fields = {
        "metadata_version": 1,
        "name": name,
        "version": version,
        "architecture": "fcn4s-mobilenet_v2",
        "input_size": size,
        "channels": (*CHANNELS, "probability") if recipe.get("previous", 1) else CHANNELS,
        "guidance": Guidance(encoding=recipe.get("encoding", "disc"), radius=recipe["disc_radius"]),
        "pixel_scale": 1 / 127.5,
        "pixel_offset": -1.0,
        "region": RegionPolicy(zoom=bool(recipe.get("zoom", 1)), expansion=1.4, min_side=128),
        "cut": CutDefaults(cut_lambda=1.0, cut_sigma=0.0, seed_radius=5.0, threshold=0.5),
        "training": {**recipe, "samples": state["seen"]},
        "accuracy": {},
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }
    if notes:
        fields |= json.loads(notes.read_text())
    return BundleMetadata.model_validate(fields)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", default="default")
    parser.add_argument("--version", default="1")
    parser.add_argument("--size", type=int, default=320, help="S, pixels; a multiple of 32")
    parser.add_argument("--notes", type=Path, help="JSON file with metadata fields to override")
    args = parser.parse_args()
    metadata = describe(args.checkpoint, args.name, args.version, args.size, args.notes)
    worst = export(args.checkpoint, args.output, metadata)
    size = args.output.stat().st_size / 2**20
    print(f"{args.output}: {size:.1f} MiB, differs from PyTorch by at most {worst:.1e}")


if __name__ == "__main__":
    main()
