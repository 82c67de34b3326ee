"""Real photographs: both solvers, warm and cold, give the same mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from clickcut.cut import SOLVERS, Cut, EdgeWeights
from clickcut.region import Region

pytestmark = pytest.mark.slow


def logits_of(mask: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) float32 as of a network that has the object roughly right."""
    small = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    inside = cv2.distanceTransform(small, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - small, cv2.DIST_L2, 5)
    dents = 60 * cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 8)
    return np.clip((inside - outside + dents) / 4, -6, 6).astype(np.float32)


@pytest.mark.shared
@pytest.mark.parametrize("cut_lambda", [1.0, 0.1])
def test_photographs(shared_data: Path, cut_lambda: float) -> None:
    rng = np.random.default_rng(0)
    for path in sorted((shared_data / "grabcut" / "masks").glob("*.png"))[::12]:
        photo = next((shared_data / "grabcut" / "images").glob(f"{path.stem}.*"))
        pixels = np.ascontiguousarray(cv2.imread(str(photo))[..., ::-1])
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) == 255
        height, width = mask.shape
        edges = EdgeWeights(pixels)
        warm = {solver: Cut(edges, solver) for solver in SOLVERS}
        seeds = np.empty((0, 3), np.int32)
        for step in range(4):
            logits = logits_of(mask, 160, rng)
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            sign = 1 if mask[y, x] else -1
            seeds = np.vstack([seeds, np.array([[x, y, sign]], np.int32)])
            region = Region(0, 0, width, height) if step < 3 else Region(9, 5, width, height - 7)
            arguments = logits, region, seeds, cut_lambda, 5.0
            want = Cut(edges, "pymaxflow").solve(*arguments)
            for cut in warm.values():
                np.testing.assert_array_equal(cut.solve(*arguments), want)
