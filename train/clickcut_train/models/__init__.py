"""The networks: backbone (features at strides 4 to 32) and head (features to logits)."""

from __future__ import annotations

from clickcut_train.models.network import ClickNetwork, ModelConfig, build

__all__ = ["ClickNetwork", "ModelConfig", "build"]
