"""A network as the engine describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clickcut.bundle import METADATA_VERSION, BundleMetadata
from clickcut_train.checkpoint import OPTIONS
from clickcut_train.models import ModelConfig
from clickcut_train.models.network import PIXEL_OFFSET, PIXEL_SCALE


def kept_fields(provenance: Mapping[str, Any], zoom: bool) -> dict[str, Any]:
    """Input size, region and cut of the bundle that a training began from; empty without one.

    Args:
        provenance: of the training's weights.
        zoom: as the training goes on, whatever the bundle says.
    """
    kept: dict[str, Any] = provenance.get(OPTIONS, {})
    return kept | {"region": kept["region"] | {"zoom": zoom}} if kept else {}


def bundle_metadata(model: ModelConfig, zoom: bool, **fields: Any) -> BundleMetadata:
    """The engine's description of a network.

    Args:
        model: the network.
        zoom: whether it was trained on crops around objects, and so expects them.
        fields: of the metadata, instead of the defaults.
    """
    # Measured for models that see their previous probability (benchmarks/results/regions.md).
    small = {"min_side": 96, "narrow": 1.5} if model.previous else {"min_side": 128}
    return BundleMetadata.model_validate(
        {
            "metadata_version": METADATA_VERSION,
            "name": "in-training",
            "version": "0",
            "architecture": model.name,
            "input_size": model.input_size,
            "channels": model.channels,
            "guidance": {"encoding": model.encoding, "radius": model.radius},
            "pixel_scale": PIXEL_SCALE,
            "pixel_offset": PIXEL_OFFSET,
            "region": {"zoom": zoom, "expansion": 1.4, **small},
            "cut": {"cut_lambda": 1.0, "cut_sigma": 0.0, "seed_radius": 5.0, "threshold": 0.5},
            "training": {},
            "accuracy": {},
            "checkpoint_sha256": "0" * 64,
            **fields,
        }
    )
