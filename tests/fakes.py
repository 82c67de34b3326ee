"""A predictor without a trained network, and small pictures made of simple shapes."""

from __future__ import annotations

import cv2
import numpy as np

from clickcut.bundle import METADATA_VERSION, BundleMetadata


def metadata_fields(**changes):
    """What the metadata of a small bundle says, with changes."""
    return {
        "metadata_version": METADATA_VERSION,
        "name": "fake",
        "version": "1",
        "architecture": "fake",
        "input_size": 64,
        "channels": ("red", "green", "blue", "positive", "negative", "probability"),
        "guidance": {"encoding": "disc", "radius": 3},
        "pixel_scale": 1 / 127.5,
        "pixel_offset": -1.0,
        "region": {"zoom": True, "expansion": 1.4, "min_side": 32},
        "cut": {"cut_lambda": 1.0, "cut_sigma": 0.0, "seed_radius": 3.0, "threshold": 0.5},
        "training": {},
        "accuracy": {},
        "checkpoint_sha256": "0" * 64,
    } | changes


def metadata(**changes):
    return BundleMetadata.model_validate(metadata_fields(**changes))


class FakePredictor:
    """Object is what has a colour like that under the positive clicks, less what the negatives hit.

    Deterministic, and depends on every input channel, as a network does.
    """

    backend = "fake"
    sha256 = ""

    def __init__(self, **changes):
        self.metadata = metadata(**changes)
        self.batches = []

    def warm_up(self):
        pass

    def predict(self, batch):
        self.batches.append(batch.copy())
        return np.stack([self._logits(x) for x in batch]).astype(np.float32)

    def _logits(self, x):
        def mean_colour(weights):
            total = weights.sum()
            return (x[:3] * weights).sum((1, 2)) / total if total else None

        positive, negative = (mean_colour(x[c]) for c in (3, 4))
        logits = np.full(x.shape[1:], -2.0)
        if positive is not None:
            logits = 3 - 8 * np.abs(x[:3] - positive[:, None, None]).sum(0)
        if negative is not None:
            logits -= 4 * (np.abs(x[:3] - negative[:, None, None]).sum(0) < 0.2)
        logits += 0.5 * x[5] - 3 * x[4] + 3 * x[3]
        return cv2.GaussianBlur(logits.astype(np.float32), (0, 0), 1.0)


def picture(width=160, height=120, seed=0):
    """(H, W, 3) uint8: a bright ellipse and a bright box on a dark, noisy ground."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 60, np.uint8)
    centre, axes = (width // 3, height // 2), (width // 6, height // 4)
    cv2.ellipse(image, centre, axes, 20, 0, 360, (200, 180, 90), -1)
    cv2.rectangle(
        image, (2 * width // 3, height // 3), (width - width // 10, height // 2), (90, 180, 200), -1
    )
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)
