"""Random damage to pictures and masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def damage(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random brightness, contrast, cast, fading, blur and JPEG damage of an (H, W, 3) image."""
    gain = rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3)
    offset = rng.uniform(-20, 20)
    ramp = np.arange(256, dtype=np.float64)[None, :, None]
    table = np.clip((ramp - 128) * gain + 128 + offset, 0, 255).astype(np.uint8)
    out: NDArray[Any] = cv2.LUT(image, table)
    if rng.random() < 0.15:
        grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        fade = rng.uniform(0.3, 1.0)
        out = cv2.addWeighted(out, 1 - fade, grey, fade, 0)
    if rng.random() < 0.15:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < 0.15:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 85))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
        out = out if decoded is None else decoded
    return np.asarray(out, np.uint8)


def damaged_mask(target: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A plausible wrong mask near `target` (S, S), for learning to repair an existing mask.

    Grown or shrunk, with a few ellipses added or taken away; (S, S) uint8, 0 or 1.
    """
    size = len(target)
    k = int(rng.integers(3, 15))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (k, k))
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    out = np.ascontiguousarray(change(target.astype(np.uint8), kernel), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.integers(size // 16, size // 4, 2))
        cv2.ellipse(out, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, int(rng.integers(2)), -1)
    return out
