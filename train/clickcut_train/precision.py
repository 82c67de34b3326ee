"""Which arithmetic a network is trained in."""

from __future__ import annotations

from typing import Literal

import torch

from clickcut.processor import has_fast_bf16

Precision = Literal["auto", "bf16", "fp32"]


def resolve(precision: Precision, device: torch.device) -> tuple[Literal["bf16", "fp32"], str]:
    """Decide on `auto`, and say why.

    Args:
        precision: of the configuration.
        device: where the network is.

    Returns:
        The precision, and a line for people.
    """
    if precision != "auto":
        return precision, f"precision: {precision}, as configured"
    if device.type == "cuda":
        fast, owner = torch.cuda.is_bf16_supported(including_emulation=False), "GPU"
    else:
        fast, owner = has_fast_bf16(), "processor"
    if fast:
        return "bf16", f"precision: bf16, which this {owner} computes in"
    return "fp32", f"precision: fp32, because this {owner} has no bfloat16 arithmetic of its own"
