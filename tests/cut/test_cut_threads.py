"""Many cuts on one image at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clickcut.cut import Cut, EdgeWeights
from clickcut.region import Region


def clicks(edges: EdgeWeights, seed: int) -> list[np.ndarray]:
    """The masks of one session: clicks, and a region that moves."""
    rng = np.random.default_rng(seed)
    height, width = edges.image.shape[:2]
    cut = Cut(edges)
    logits = rng.normal(0, 1, (20, 20)).astype(np.float32)
    masks = []
    for n in range(12):
        logits += rng.normal(0, 0.2, logits.shape).astype(np.float32)
        x0, y0 = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
        region = Region(0, 0, width, height) if n % 3 else Region(x0, y0, width, height)
        seeds = np.array([[x0, y0, 1], [width - 1, height - 1, -1]], np.int32)
        masks.append(cut.solve(logits, region, seeds, 0.3, 4.0))
    return masks


@pytest.mark.slow
def test_threads_share_weights() -> None:
    image = np.random.default_rng(0).integers(0, 60, (130, 160, 3), np.uint8)
    alone = [clicks(EdgeWeights(image), seed) for seed in range(8)]
    for _ in range(3):
        shared = EdgeWeights(image)  # its tiles are computed by all threads at once
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda seed, e=shared: clicks(e, seed), range(8)))
        for one, other in zip(alone, together, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)
