"""Small data sets in real formats, and a method that needs no model."""

from __future__ import annotations

import numpy as np
import pytest
from eval_cases import save
from fakes import picture


@pytest.fixture
def scene():
    """(H, W, 3) uint8 RGB and the bright ellipse on it, (H, W) bool."""
    pixels = picture(80, 60)
    return pixels, pixels[..., 0] > 150


@pytest.fixture
def grabcut_folder(tmp_path, scene):
    """`grabcut/` with three photographs; the last one's object has no pixels."""
    pixels, mask = scene
    root = tmp_path / "data/grabcut"
    for name in "abc":
        save(root / f"images/{name}.png", pixels[..., ::-1])
        save(root / f"masks/{name}.png", mask.astype(np.uint8) * (255 if name != "c" else 0))
    return root
